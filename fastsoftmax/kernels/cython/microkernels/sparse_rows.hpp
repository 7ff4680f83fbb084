// The two micro-kernels of sparse X, over the entries x of rows, in columns j; classes in the lanes.
//
//     gather     H[row, :] = bias + sum of x theta[j, :]    the sums of a row stay in registers
//     scatter    G[j, :] += x D[row, :]                     D[row, :] stays in registers for all entries of a row
//
// Rows of theta and G lie one after the other without padding. Vectors are the widest that k classes fill, a power of
// two. The last vector of a row ends with the row and overlaps the vector before, so nothing is read past theta, and
// nothing is written into the next row of G, which may belong to another thread. `scatter` loads all vectors of a row
// of G before it stores one, so that lanes that are there twice get the same value twice.
//
// Each entry meets another row of theta or G, which may have hundreds of megabytes. So the rows of the entries that
// come `PREFETCH_ENTRIES` later are prefetched.
#pragma once

#include "microkernels/tile.hpp"

namespace fastsoftmax {
namespace {

template <class T, class I>
struct Csr {  // a chunk of rows
    const int64_t* indptr;
    const I* indices;  // ascending in each row
    const T* data;
    ptrdiff_t m, n;
};

// Entries begin to end - 1, all of one row.
struct Piece {
    int64_t begin, end;
};
template <class T, class I>
INLINE Piece row_of(const Csr<T, I>& X, ptrdiff_t row) {
    return {X.indptr[row], X.indptr[row + 1]};
}

constexpr int ROW_VECTORS = 8;  // vectors of a panel of classes, which stay in registers
// Entries from the one in use to the one whose row is prefetched, into L2, which can have more requests under way than
// L1. 118k x 168k, 2.2M entries, k = 45, float64, one thread: 82 ms; 40 entries 89 ms; 8 entries into L1 105 ms.
constexpr int PREFETCH_ENTRIES = 32;

// The micro-kernel for `width` classes: of NV vectors of W lanes, W being the most that the classes fill. Vectors of
// fewer lanes than WIDEST are at most two. Kernel<W, NV>::get() returns a pointer to a function.
template <template <int, int> class Kernel, int WIDEST, int W = WIDEST, int NV = 1>
auto kernel_of(ptrdiff_t width) {
    if constexpr (W > 2 && NV == 1)
        if (width < W) return kernel_of<Kernel, WIDEST, W / 2>(width);
    if constexpr (NV < (W == WIDEST ? ROW_VECTORS : 2))
        if (width > NV * W) return kernel_of<Kernel, WIDEST, W, NV + 1>(width);
    return Kernel<W, NV>::get();
}

// The panels of k classes; a panel is what stays in registers. Where there are several, each has two vectors or more,
// so that the last vector can overlap one of its own panel.
template <class A>
struct ClassPanels {
    ptrdiff_t k;
    Split parts;
    explicit ClassPanels(ptrdiff_t k) : k(k), parts(int((k + VL<A> - 1) / VL<A>), ROW_VECTORS) {}
    int count() const { return parts.parts; }
    ptrdiff_t begin(int i) const { return parts.begin(i) * VL<A>; }
    ptrdiff_t width(int i) const { return (i + 1 < parts.parts ? begin(i + 1) : k) - begin(i); }
};

// Prefetches all cache lines of a row of `width` numbers, which NV vectors of W lanes hold.
template <int W, int NV, int WRITE, class A>
INLINE void prefetch_row(const A* row, ptrdiff_t width) {
    constexpr int lines = int((NV * W * sizeof(A) + 63) / 64);
#pragma GCC unroll 8
    for (int i = 0; i < lines; ++i) __builtin_prefetch((const char*)row + 64 * i, WRITE, 2);
    __builtin_prefetch((const char*)(row + width) - 1, WRITE, 2);
}

// ------------------------------------------------------------------------------------ gather

// H[r][c] = bias[c] + sum of x theta[j][c] for c < width and the rows from `first` on. theta, bias and H begin at the
// panel's first class. Few vectors are summed in several sets, since each addition to a sum waits for the one before.
template <int W, int NV, bool PREFETCH, class T, class I>
void gather(const Csr<T, I>& X, ptrdiff_t first, int rows, const T* theta, ptrdiff_t k, ptrdiff_t width, const T* bias,
            T* H, ptrdiff_t ld) {
    typedef VecOf<T, W> V;
    constexpr int SETS = NV <= 2 ? 4 : NV <= 4 ? 2 : 1;
    const int64_t final = X.indptr[X.m] - 1;
    ptrdiff_t at[NV];
    for (int v = 0; v < NV; ++v) at[v] = v + 1 < NV ? v * W : width - W;
    for (int r = 0; r < rows; ++r) {
        V acc[SETS][NV];
        for (int u = 0; u < SETS; ++u)
            for (int v = 0; v < NV; ++v) acc[u][v] = u == 0 && bias ? load<T, W>(bias + at[v]) : V{};
        auto add = [&](int64_t e, V* sum) {
            const T* row = theta + X.indices[e] * k;
            if constexpr (PREFETCH)
                prefetch_row<W, NV, 0>(theta + X.indices[std::min(e + PREFETCH_ENTRIES, final)] * k, width);
            const V x = X.data[e] - V{};
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sum[v] += load<T, W>(row + at[v]) * x;
        };
        const Piece piece = row_of(X, first + r);
        int64_t e = piece.begin;
        for (; e + SETS <= piece.end; e += SETS)
#pragma GCC unroll 4
            for (int u = 0; u < SETS; ++u) add(e + u, acc[u]);
        for (; e < piece.end; ++e) add(e, acc[0]);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            V sum = acc[0][v];
            for (int u = 1; u < SETS; ++u) sum += acc[u][v];
            store<T, W>(H + r * ld + at[v], sum);
        }
    }
}

template <class T, class I, bool PREFETCH>
struct Gather {
    template <int W, int NV>
    struct Of {
        static auto get() { return &gather<W, NV, PREFETCH, T, I>; }
    };
};

// H (rows, ld) = X theta + bias for the rows from `first` on; bias may be null.
template <class T, class I>
void sparse_forward(const Csr<T, I>& X, ptrdiff_t first, int rows, const T* theta, const T* bias, ptrdiff_t k, T* H,
                    ptrdiff_t ld) {
    const bool far = X.n * k * ptrdiff_t(sizeof(T)) > FAR_BYTES;
    const ClassPanels<T> panels(k);
    for (int i = 0; i < panels.count(); ++i) {
        const ptrdiff_t begin = panels.begin(i), width = panels.width(i);
        const T *part = theta + begin, *part_bias = bias ? bias + begin : nullptr;
        const auto run = far ? kernel_of<Gather<T, I, true>::template Of, VL<T>>(width)
                             : kernel_of<Gather<T, I, false>::template Of, VL<T>>(width);
        run(X, first, rows, part, k, width, part_bias, H + begin, ld);
    }
}

// ------------------------------------------------------------------------------------ scatter

// The columns `from` to `to` - 1 of X.
template <class T, class I>
struct Range {
    const Csr<T, I>& X;
    ptrdiff_t from, to;

    // The first entry of a piece whose column is at least `column`; no branch depends on the entries.
    static int64_t lower_bound(const Csr<T, I>& X, Piece piece, ptrdiff_t column) {
        int64_t at = piece.begin, length = piece.end - piece.begin;
        while (length > 0) {
            const int64_t half = (length + 1) / 2;
            at += X.indices[at + half - 1] < column ? half : 0;
            length -= half;
        }
        return at;
    }
    // The entries of a row that are in these columns.
    Piece of(ptrdiff_t row) const {
        Piece piece = row_of(X, row);
        if (from > 0) piece.begin = lower_bound(X, piece, from);
        if (to < X.n) piece.end = lower_bound(X, piece, to);
        return piece;
    }
    bool whole() const { return from == 0 && to == X.n; }
};

// Which rows of G are prefetched: none, those of the entries that come next in memory, or those of the entries that
// come next in the pieces of a block.
enum PrefetchOrder { NO_PREFETCH, NEXT_ENTRIES, NEXT_IN_PIECES };

// Walks the entries of a block's pieces, PREFETCH_ENTRIES before the loop that adds them.
template <class I>
struct PrefetchCursor {
    const I* indices;
    const Piece *piece, *end;
    int64_t e;
    PrefetchCursor(const I* indices, const Piece* pieces, int rows)
        : indices(indices), piece(pieces), end(pieces + rows), e(pieces->begin) {}

    // The column of the next entry, or -1 at the end.
    INLINE ptrdiff_t next() {
        while (e == piece->end) {
            if (piece + 1 == end) return -1;
            e = (++piece)->begin;
        }
        return indices[e++];
    }
};

// G[j][c] += x D[r][c] for c < width and the entries in `pieces`, one piece for each row. D and G begin at the panel's
// first class.
template <int W, int NV, PrefetchOrder PREFETCH, class T, class I>
void scatter(const Csr<T, I>& X, const Piece* pieces, int rows, const T* D, ptrdiff_t ld, T* G, ptrdiff_t k,
             ptrdiff_t width) {
    typedef VecOf<T, W> V;
    const int64_t final = X.indptr[X.m] - 1;
    ptrdiff_t at[NV];
    for (int v = 0; v < NV; ++v) at[v] = v + 1 < NV ? v * W : width - W;
    PrefetchCursor<I> cursor(X.indices, pieces, rows);
    auto prefetch_next = [&] {
        const ptrdiff_t j = cursor.next();
        if (j >= 0) prefetch_row<W, NV, 1>(G + j * k, width);
    };
    for (int i = 0; PREFETCH == NEXT_IN_PIECES && i < PREFETCH_ENTRIES; ++i) prefetch_next();
    for (int r = 0; r < rows; ++r) {
        V d[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) d[v] = load<T, W>(D + r * ld + at[v]);
        const Piece piece = pieces[r];
        for (int64_t e = piece.begin; e < piece.end; ++e) {
            if constexpr (PREFETCH == NEXT_IN_PIECES) prefetch_next();
            if constexpr (PREFETCH == NEXT_ENTRIES)
                prefetch_row<W, NV, 1>(G + X.indices[std::min(e + PREFETCH_ENTRIES, final)] * k, width);
            T* g = G + X.indices[e] * k;
            const V x = X.data[e] - V{};
            V sum[NV];
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sum[v] = load<T, W>(g + at[v]) + d[v] * x;
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) store<T, W>(g + at[v], sum[v]);
        }
    }
}

template <class T, class I, PrefetchOrder PREFETCH>
struct Scatter {
    template <int W, int NV>
    struct Of {
        static auto get() { return &scatter<W, NV, PREFETCH, T, I>; }
    };
};

// G (n, k) += x D for the rows from `first` on and the columns of a range. `pieces` has room for one of each row.
template <class T, class I>
void sparse_backward(const Range<T, I>& range, ptrdiff_t first, int rows, const T* D, ptrdiff_t ld, T* G, ptrdiff_t k,
                     Piece* pieces) {
    const Csr<T, I>& X = range.X;
    const bool far = X.n * k * ptrdiff_t(sizeof(T)) > FAR_BYTES;
    const PrefetchOrder order = !far ? NO_PREFETCH : range.whole() ? NEXT_ENTRIES : NEXT_IN_PIECES;
    for (int r = 0; r < rows; ++r) pieces[r] = range.of(first + r);
    const ClassPanels<T> panels(k);
    for (int i = 0; i < panels.count(); ++i) {
        const ptrdiff_t begin = panels.begin(i), width = panels.width(i);
        const auto run = order == NO_PREFETCH    ? kernel_of<Scatter<T, I, NO_PREFETCH>::template Of, VL<T>>(width)
                         : order == NEXT_ENTRIES ? kernel_of<Scatter<T, I, NEXT_ENTRIES>::template Of, VL<T>>(width)
                                                 : kernel_of<Scatter<T, I, NEXT_IN_PIECES>::template Of, VL<T>>(width);
        run(X, pieces, rows, D + begin, ld, G + begin, k, width);
    }
}

// ------------------------------------------------------------------------- between the two orders of H

// H [row][class] to H^T [class][row], whose classes are `block` apart. Lanes past the last row repeat it.
template <class T>
void to_classes(const T* H, ptrdiff_t ld, int rows, ptrdiff_t k, T* out, ptrdiff_t block) {
    for (int r = 0; r < rows; r += VL<T>)
        for (ptrdiff_t c = 0; c < k; c += VL<T>) {
            const ptrdiff_t at = c + VL<T> > k && k > VL<T> ? k - VL<T> : c;
            transpose_square(H + r * ld + at, ld, std::min(VL<T>, rows - r) - 1, out + at * block + r, block);
        }
}
// The reverse, for D. Whole vectors of rows are written, for which `out` has room.
template <class T>
void to_rows(const T* D, ptrdiff_t block, int rows, ptrdiff_t k, T* out, ptrdiff_t ld) {
    for (int r = 0; r < rows; r += VL<T>)
        for (ptrdiff_t c = 0; c < k; c += VL<T>) {
            const ptrdiff_t at = c + VL<T> > k && k > VL<T> ? k - VL<T> : c;
            const int last = int(std::min<ptrdiff_t>(VL<T>, k - at)) - 1;
            transpose_square(D + at * block + r, block, last, out + r * ld + at, ld);
        }
}

}  // namespace
}  // namespace fastsoftmax
