// The two products of a block of sparse rows, classes in the lanes.
//
//     H[row, :]        = bias + sum over entries of x_ij theta[j, :]     reads rows of theta
//     G[j, :]         += x_ij D[row, :]                                  reads and writes rows of G
//
// Both live on memory: theta and G may have hundreds of megabytes, and an entry picks a row of each at random, so
// rows are fetched some entries ahead of use. Rows hold k values without padding. Vectors are the widest that k
// fills (a power of two); the last one begins early and repeats lanes of the one before, so that nothing reads past
// theta or writes into the next row of G, which may belong to another thread. Of a row of G all vectors are loaded
// before one is stored: lanes that are there twice get the same value twice.
#pragma once

#include "microkernels/tile.hpp"

namespace fastsoftmax {
namespace {

template <class T, class I>
struct Csr {  // rows of a chunk
    const int64_t* indptr;
    const I* indices;  // in each row ascending
    const T* data;
    ptrdiff_t m, n;
};

// Entries of a row.
struct Piece {
    int64_t begin, end;
};
template <class T, class I>
INLINE Piece row_of(const Csr<T, I>& X, ptrdiff_t row) {
    return {X.indptr[row], X.indptr[row + 1]};
}

constexpr int NV_ROW = 8;  // vectors of a row of classes that are summed in registers
// Entries from the one whose row is fetched to the one in use; fetched into L2, which has more requests under way than
// L1: 118k x 168k with 2.2M entries and k = 45 in float64 took 105, 89 and 82 ms on one thread by L1 and 8, L2 and 40,
// L2 and 32.
constexpr int ENTRIES_AHEAD = 32;

template <class T, int W>
struct Few {
    typedef T V __attribute__((vector_size(W * sizeof(T))));
};
template <class T, int W>
INLINE typename Few<T, W>::V load_few(const T* p) {
    typename Few<T, W>::V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <int N>
using Constant = std::integral_constant<int, N>;

// The entry of a table of kernels for `width` classes, in NV vectors of W, W the widest that fits: narrower than a whole
// vector, there are two of them at most. Kernel<W, NV>::get() is a pointer to a function.
template <template <int, int> class Kernel, int WIDEST, int W = WIDEST, int NV = 1>
auto kernel_of(ptrdiff_t width) {
    if constexpr (W > 2 && NV == 1)
        if (width < W) return kernel_of<Kernel, WIDEST, W / 2>(width);
    if constexpr (NV < (W == WIDEST ? NV_ROW : 2))
        if (width > NV * W) return kernel_of<Kernel, WIDEST, W, NV + 1>(width);
    return Kernel<W, NV>::get();
}

// The panels of k classes that go through registers at a time. None but a single one is less than two vectors, so
// that the last vector has one of its own panel to begin in.
template <class A>
struct ClassPanels {
    ptrdiff_t k;
    Split parts;
    explicit ClassPanels(ptrdiff_t k) : k(k), parts(int((k + VL<A> - 1) / VL<A>), NV_ROW) {}
    int count() const { return parts.parts; }
    ptrdiff_t begin(int i) const { return parts.begin(i) * VL<A>; }
    ptrdiff_t width(int i) const { return (i + 1 < parts.parts ? begin(i + 1) : k) - begin(i); }
};

// Every line of a row of `width` values in NV vectors of W.
template <int W, int NV, int WRITE, class A>
INLINE void fetch_row(const A* row, ptrdiff_t width) {
    constexpr int lines = int((NV * W * sizeof(A) + 63) / 64);
#pragma GCC unroll 8
    for (int i = 0; i < lines; ++i) __builtin_prefetch((const char*)row + 64 * i, WRITE, 2);
    __builtin_prefetch((const char*)(row + width) - 1, WRITE, 2);
}

// ------------------------------------------------------------------------------------ forward

// H[row][0..width) for rows from `first` on; theta, bias and H begin at the panel's first class. Sums of few vectors
// are kept in several sets, since each waits for the one before.
template <int W, int NV, bool FETCH, class T, class I>
void sum_entries(const Csr<T, I>& X, ptrdiff_t first, int rows, const T* theta, ptrdiff_t k, ptrdiff_t width,
                 const T* bias, T* H, ptrdiff_t ld) {
    typedef typename Few<T, W>::V V;
    constexpr int SETS = NV <= 2 ? 4 : NV <= 4 ? 2 : 1;
    const int64_t final = X.indptr[X.m] - 1;
    ptrdiff_t at[NV];
    for (int v = 0; v < NV; ++v) at[v] = v + 1 < NV ? v * W : width - W;
    for (int r = 0; r < rows; ++r) {
        V acc[SETS][NV];
        for (int u = 0; u < SETS; ++u)
            for (int v = 0; v < NV; ++v) acc[u][v] = u == 0 && bias ? load_few<T, W>(bias + at[v]) : V{};
        auto add = [&](int64_t e, V* sum) {
            const T* row = theta + X.indices[e] * k;
            if constexpr (FETCH)
                fetch_row<W, NV, 0>(theta + X.indices[std::min(e + ENTRIES_AHEAD, final)] * k, width);
            const V x = X.data[e] - V{};
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sum[v] += load_few<T, W>(row + at[v]) * x;
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
            std::memcpy(H + r * ld + at[v], &sum, sizeof sum);
        }
    }
}

template <class T, class I, bool FETCH>
struct Summing {
    template <int W, int NV>
    struct Of {
        static auto get() { return &sum_entries<W, NV, FETCH, T, I>; }
    };
};

template <class T, class I>
void sparse_forward(const Csr<T, I>& X, ptrdiff_t first, int rows, const T* theta, const T* bias, ptrdiff_t k, T* H,
                    ptrdiff_t ld) {
    const bool far = X.n * k * ptrdiff_t(sizeof(T)) > FAR_BYTES;
    const ClassPanels<T> panels(k);
    for (int i = 0; i < panels.count(); ++i) {
        const ptrdiff_t begin = panels.begin(i), width = panels.width(i);
        const T *part = theta + begin, *part_bias = bias ? bias + begin : nullptr;
        const auto sum = far ? kernel_of<Summing<T, I, true>::template Of, VL<T>>(width)
                             : kernel_of<Summing<T, I, false>::template Of, VL<T>>(width);
        sum(X, first, rows, part, k, width, part_bias, H + begin, ld);
    }
}

// ------------------------------------------------------------------------------------ backward

// Columns from..to - 1 of X.
template <class T, class I>
struct Range {
    const Csr<T, I>& X;
    ptrdiff_t from, to;

    // The first entry in `piece` whose column is at least `column`, without a branch that depends on one.
    static int64_t lower_bound(const Csr<T, I>& X, Piece piece, ptrdiff_t column) {
        int64_t at = piece.begin, length = piece.end - piece.begin;
        while (length > 0) {
            const int64_t half = (length + 1) / 2;
            at += X.indices[at + half - 1] < column ? half : 0;
            length -= half;
        }
        return at;
    }
    // The entries of a row in these columns.
    Piece of(ptrdiff_t row) const {
        Piece piece = row_of(X, row);
        if (from > 0) piece.begin = lower_bound(X, piece, from);
        if (to < X.n) piece.end = lower_bound(X, piece, to);
        return piece;
    }
    bool whole() const { return from == 0 && to == X.n; }
};

// How the rows of G are fetched ahead of use: not at all, by the entries that follow in memory, or by those that
// follow in the pieces of a block.
enum Fetch { NEAR, FOLLOWING, IN_PIECES };

// Walks the entries of a block's pieces, some before the loop that adds them.
template <class I>
struct Upcoming {
    const I* indices;
    const Piece *piece, *end;
    int64_t e;
    Upcoming(const I* indices, const Piece* pieces, int rows)
        : indices(indices), piece(pieces), end(pieces + rows), e(pieces->begin) {}

    // The column of the next entry, or -1 if there is none.
    INLINE ptrdiff_t next() {
        while (e == piece->end) {
            if (piece + 1 == end) return -1;
            e = (++piece)->begin;
        }
        return indices[e++];
    }
};

// G[j][0..width) += x_ij D[i][0..width) for the entries in the pieces of a block's rows; D and G begin at the panel's
// first class.
template <int W, int NV, Fetch FETCH, class T, class I>
void add_entries(const Csr<T, I>& X, const Piece* pieces, int rows, const T* D, ptrdiff_t ld, T* G, ptrdiff_t k,
                 ptrdiff_t width) {
    typedef typename Few<T, W>::V V;
    const int64_t final = X.indptr[X.m] - 1;
    ptrdiff_t at[NV];
    for (int v = 0; v < NV; ++v) at[v] = v + 1 < NV ? v * W : width - W;
    Upcoming<I> upcoming(X.indices, pieces, rows);
    auto fetch = [&] {
        const ptrdiff_t j = upcoming.next();
        if (j >= 0) fetch_row<W, NV, 1>(G + j * k, width);
    };
    for (int i = 0; FETCH == IN_PIECES && i < ENTRIES_AHEAD; ++i) fetch();
    for (int r = 0; r < rows; ++r) {
        V d[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) d[v] = load_few<T, W>(D + r * ld + at[v]);
        const Piece piece = pieces[r];
        for (int64_t e = piece.begin; e < piece.end; ++e) {
            if constexpr (FETCH == IN_PIECES) fetch();
            if constexpr (FETCH == FOLLOWING)
                fetch_row<W, NV, 1>(G + X.indices[std::min(e + ENTRIES_AHEAD, final)] * k, width);
            T* g = G + X.indices[e] * k;
            const V x = X.data[e] - V{};
            V sum[NV];
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sum[v] = load_few<T, W>(g + at[v]) + d[v] * x;
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) std::memcpy(g + at[v], &sum[v], sizeof(V));
        }
    }
}

template <class T, class I, Fetch FETCH>
struct Adding {
    template <int W, int NV>
    struct Of {
        static auto get() { return &add_entries<W, NV, FETCH, T, I>; }
    };
};

// The same for a block of rows from `first` on and the columns of a range; `pieces` is room for one per row.
template <class T, class I>
void sparse_backward(const Range<T, I>& range, ptrdiff_t first, int rows, const T* D, ptrdiff_t ld, T* G, ptrdiff_t k,
                     Piece* pieces) {
    const Csr<T, I>& X = range.X;
    const bool far = X.n * k * ptrdiff_t(sizeof(T)) > FAR_BYTES;
    const Fetch fetch = !far ? NEAR : range.whole() ? FOLLOWING : IN_PIECES;
    for (int r = 0; r < rows; ++r) pieces[r] = range.of(first + r);
    const ClassPanels<T> panels(k);
    for (int i = 0; i < panels.count(); ++i) {
        const ptrdiff_t begin = panels.begin(i), width = panels.width(i);
        const auto add = fetch == NEAR        ? kernel_of<Adding<T, I, NEAR>::template Of, VL<T>>(width)
                         : fetch == FOLLOWING ? kernel_of<Adding<T, I, FOLLOWING>::template Of, VL<T>>(width)
                                              : kernel_of<Adding<T, I, IN_PIECES>::template Of, VL<T>>(width);
        add(X, pieces, rows, D + begin, ld, G + begin, k, width);
    }
}

// ---------------------------------------------------------------------- rows of classes, classes of rows

// H [row][class] to H^T [class][block]; lanes past the last row repeat it.
template <class T>
void to_classes(const T* H, ptrdiff_t ld, int rows, ptrdiff_t k, T* out, ptrdiff_t block) {
    for (int r = 0; r < rows; r += VL<T>)
        for (ptrdiff_t c = 0; c < k; c += VL<T>) {
            const ptrdiff_t at = c + VL<T> > k && k > VL<T> ? k - VL<T> : c;
            transpose_square(H + r * ld + at, ld, std::min(VL<T>, rows - r) - 1, out + at * block + r, block);
        }
}
// ... and back. Rows go in whole vectors: `out` has room for the block.
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
