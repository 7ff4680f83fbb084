// X in F order of so many features that L2 does not hold a block of rows beside the next one: both products walk it a
// part of the features after the other, and L3 holds the block in between.
//
//     forward     part 0, 1, ... last    each fetches the part after it, from memory
//     backward    last, ... 1, 0         each fetches the part before it, from L3; part 0 that of the next block
//
// The last part is still in L2 when the second product begins with it. As L2 is out of the question, blocks have more
// rows than a plan gives them, and slabs begin where such blocks do: pieces of columns are longer.
#pragma once

#include "block/products.hpp"

namespace fastsoftmax {
namespace {

// Rows of a block and bytes of a part. 60k x 784, k = 10, in F order takes 10.8 to 11.1 ms in place of 11.8 to 13.7 (by
// where its pages lie) in float32, C order 10.1 to 10.5; 20.7 to 21.3 in place of 21.4 to 23.4 in float64, C order
// 19.5 to 20.3. 200k x 384, k = 20, gains 1 %. No power of two: with 512 rows the logits of two classes lie 2,048 bytes
// apart, and 60k x 784 in float32 takes 2 % longer. 576 rows, or 256 kB, change nothing; 640 rows cost 1 %, 512 of
// float64 5 %.
template <class T>
constexpr ptrdiff_t PART_ROWS = sizeof(T) == 4 ? 544 : 384;
constexpr ptrdiff_t PART_BYTES = 192 << 10;

// Walks plain columns in parts where L2 does not hold two blocks of them, but L3 those of several threads.
template <class T>
void choose_parts(Pass<T>& p, ptrdiff_t L2, ptrdiff_t L3) {
    const ptrdiff_t rows = PART_ROWS<T>, size = sizeof(T), bytes = rows * p.n * size;
    const bool plain = p.X.type == (size == 8 ? FLOAT64 : FLOAT32) && p.X.row == size && p.X.col % 4096 != 0;
    const bool sized = p.block < rows && rows * p.slabs <= p.m && bytes > L2 / 2 && bytes <= L3 / 4;
    if (!plain || !sized || !few_sums<T>(rows, p.k)) return;
    p.block = rows;
    p.flush_rows = std::max(p.flush_rows / rows, ptrdiff_t(1)) * rows;
    p.part = std::max<int>(1, PART_BYTES / (rows * size * WIDTH<T>));
}

// The parts, in panels of features.
template <class T>
Split parts_of(const Pass<T>& p) {
    return Split(PanelsOf<T>(p.n).count, p.part);
}

template <class T>
ptrdiff_t part_begin(int part, const Pass<T>& p) {
    return std::min(p.n, parts_of(p).begin(part) * ptrdiff_t(WIDTH<T>));
}

// Whether this block goes by parts: a slab's last rows may have to be staged, or be too few for inner products.
template <class T>
bool in_parts(const Matrix<T>& X, int rows, const Pass<T>& p) {
    return p.part && X.in_place && few_sums<T>(rows, p.k);
}

// Steps of a product with one part.
template <class T>
ptrdiff_t part_steps(int part, ptrdiff_t rows, bool backward, const Pass<T>& p) {
    const ptrdiff_t features = part_begin(part + 1, p) - part_begin(part, p), vectors = (rows + VL<T> - 1) / VL<T>;
    const ptrdiff_t tiles = backward ? (features + NV_MAX - 1) / NV_MAX * vectors
                                     : (vectors + NV_MAX - 1) / NV_MAX * features * (p.along ? 2 : 1);
    return Split(p.k, NS_MAX).parts * tiles;
}

// One part of `rows` rows at X, to be fetched within so many steps; last lines as in `fetch_block`.
template <class T>
Ahead fetch_part(const char* X, ptrdiff_t rows, int part, const Pass<T>& p, ptrdiff_t steps) {
    const ptrdiff_t from = part_begin(part, p), to = part_begin(part + 1, p);
    return Ahead::pieces(X + from * p.X.col + CACHE_LINE - 1, to - from, rows * ptrdiff_t(sizeof(T)), p.X.col, steps);
}

// What the last part of a block fetches: the first one of the block at `first`.
template <class T>
Ahead fetch_first_part(ptrdiff_t first, const Pass<T>& p) {
    const ptrdiff_t rows = std::min(p.block, p.m - first);
    if (rows <= 0) return Ahead::nothing(p.X.data);
    const int last = p.grad ? 0 : parts_of(p).parts - 1;
    return fetch_part(p.X.data + first * p.X.row, rows, 0, p, part_steps(last, p.block, p.grad, p));
}

// `products_of_block`, by parts.
template <class T>
void forward_of_parts(const Matrix<T>& X, int rows, const T* theta, const T* along, const Pass<T>& p, Scratch<T>& s,
                      Ahead& ahead) {
    const int parts = parts_of(p).parts;
    for (int part = 0; part < parts; ++part) {
        const ptrdiff_t from = part_begin(part, p), to = part_begin(part + 1, p);
        Ahead next = p.grad ? Ahead::nothing((const char*)X.data) : ahead;
        if (part + 1 < parts)
            next = fetch_part((const char*)X.data, rows, part + 1, p, part_steps(part, rows, false, p));
        const View<T> columns{X.data + from * X.col, WIDTH<T>, X.col};
        forward(columns, rows, theta, p.bias, p, s.H, next, from, to);
        if (along) forward(columns, rows, along, p.along_bias, p, s.U, next, from, to);
    }
}

// The same, by parts or not.
template <class T>
void logits_of_block(const Matrix<T>& X, int rows, const T* theta, const T* along, const Pass<T>& p, Scratch<T>& s,
                     Ahead& ahead) {
    if (in_parts(X, rows, p))
        forward_of_parts(X, rows, theta, along, p, s, ahead);
    else
        products_of_block(X, rows, theta, along, p, s, ahead);
}

// `backward` of D, by parts.
template <class T>
void backward_of_parts(const Matrix<T>& X, int rows, const Scalars<T>& D, const Pass<T>& p, T* G, ptrdiff_t ldg,
                       Ahead& ahead) {
    const Split parts = parts_of(p);
    for (int part = parts.parts - 1; part >= 0; --part) {
        Ahead next = ahead;
        if (part) next = fetch_part((const char*)X.data, rows, part - 1, p, part_steps(part, rows, true, p));
        const int begin = parts.begin(part);
        backward_of_lines(X, rows, D, PanelsOf<T>(p.n), begin, begin + parts.size(part), G, ldg, next);
    }
}

}  // namespace
}  // namespace fastsoftmax
