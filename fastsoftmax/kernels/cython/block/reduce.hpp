// How a gradient is summed, from the lanes of a block to the result.
//
//     running sums           of a few thousand rows, in the dtype of the computation
//       `move_sums`            when they are due: dense gradients after `flush_rows` rows, sparse ones see below
//     sums of a slab         float64
//       `reduce_gradient`      at the end of the last chunk
//     result                 scale * (sum of the slabs, in the order of their numbers) + l2 * theta
//
// The gradient G (n, k) of sparse float32 X is summed in float32, half the memory that the passes live on. Hot columns
// have so many entries that a float32 sum would lose accuracy; by Zipf's law they are few. Their sums move to float64
// after every few blocks of rows. When depends on the numbers of the blocks alone, so results do not depend on the
// threads.
//
//     level 0: columns with entries in nearly every row     move after each block
//     level l: half as frequent as level l - 1              move after each 2^l blocks
#pragma once

#include <cmath>

#include <algorithm>
#include <limits>

#include "call.hpp"
#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

// Adds sums to those of the next kind, and sets them to zero.
template <class T>
void move_sums(T* sums, ptrdiff_t count, double* out) {
    for (ptrdiff_t i = 0; i < count; ++i) out[i] += double(sums[i]), sums[i] = 0;
}

// The same for sums that are spread over the lanes of a vector each.
template <class T>
void move_lanes(T* sums, ptrdiff_t count, double* out) {
    for (ptrdiff_t i = 0; i < count; ++i, sums += VL<T>) {
        out[i] += sum_lanes<T>(load(sums));
        store<T>(sums, Vec<T>{});
    }
}

// Moves the sums of the hot columns in from .. to that are due after `blocks` blocks to `hot_grad`.
template <class G>
void flush_hot_columns(const Hot& hot, ptrdiff_t blocks, ptrdiff_t from, ptrdiff_t to, ptrdiff_t k, G* grad,
                       double* hot_grad) {
    for (ptrdiff_t level = 0; level < hot.levels && blocks % (ptrdiff_t(1) << level) == 0; ++level) {
        const int64_t *begin = hot.columns + hot.starts[level], *end = hot.columns + hot.starts[level + 1];
        for (const int64_t* at = std::lower_bound(begin, end, from); at < end && *at < to; ++at)
            move_sums(grad + *at * k, k, hot_grad + (at - hot.columns) * k);
    }
}

// ---------------------------------------------------------------------------------------- the end of a pass

constexpr int REDUCE_VALUES = 1024;  // reduced at a time, so that their float64 sums stay in the L1 cache

// Slabs of `lines` lines of `size` values each, `stride` values apart. Value i of line l becomes out[l * line + i *
// step]; theta lies as `out` does, or is null.
template <class G, class O>
struct Reduction {
    const G* grad;
    ptrdiff_t slabs, stride, lines, size;
    double scale, l2;
    const O* theta;
    O* out;
    ptrdiff_t line, step;
};

// The values of a line from .. from + count. Returns SUMS_WRONG if a scaled sum is not finite, and STORED_WRONG if a
// value of `out` is not.
template <class G, class O>
int reduce_piece(const Reduction<G, O>& f, ptrdiff_t line, ptrdiff_t from, int count) {
    const G* grad = f.grad + line * f.size + from;
    const ptrdiff_t at = line * f.line + from * f.step;
    double sum[REDUCE_VALUES];
    for (int i = 0; i < count; ++i) sum[i] = double(grad[i]);
    for (ptrdiff_t p = 1; p < f.slabs; ++p)
        for (int i = 0; i < count; ++i) sum[i] += double(grad[p * f.stride + i]);
    int wrong = 0, wrongly_stored = 0;
    for (int i = 0; i < count; ++i) {
        sum[i] *= f.scale;
        wrong |= !(std::abs(sum[i]) <= std::numeric_limits<double>::max());
    }
    if (f.theta)
        for (int i = 0; i < count; ++i) sum[i] += f.l2 * double(f.theta[at + i * f.step]);
    for (int i = 0; i < count; ++i) {
        const O stored = O(sum[i]);
        wrongly_stored |= !(std::abs(stored) <= std::numeric_limits<O>::max());
        f.out[at + i * f.step] = stored;
    }
    return (wrong ? SUMS_WRONG : 0) | (wrongly_stored ? STORED_WRONG : 0);
}

// out = scale * (sum of the slabs in the order of their numbers) + l2 theta, by several threads. `out` may be the only
// slab where it has its order.
template <class G, class O>
int reduce_gradient(const Reduction<G, O>& f, int threads) {
    const ptrdiff_t pieces = (f.size + REDUCE_VALUES - 1) / REDUCE_VALUES;
    int wrong = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : wrong)
    for (ptrdiff_t i = 0; i < f.lines * pieces; ++i) {
        const ptrdiff_t from = i % pieces * REDUCE_VALUES;
        wrong |= reduce_piece(f, i / pieces, from, int(std::min<ptrdiff_t>(REDUCE_VALUES, f.size - from)));
    }
    return wrong;
}

// The whole of a call; G is the dtype of the gradient, O that of the result.
template <class G, class O>
int reduce(const ReduceCall& f) {
    const G* grad = (const G*)f.grad;
    const O* theta = (const O*)f.theta;
    O* out = (O*)f.out;
    const ptrdiff_t size = f.n * f.k;
    if (!f.transposed)
        return reduce_gradient<G, O>({grad, f.slabs, size, 1, size, f.scale, f.l2, theta, out, 0, 1}, f.threads);
    int wrong = reduce_gradient<G, O>({grad, f.slabs, size, f.k, f.n, f.scale, f.l2, theta, out, 1, f.k}, f.threads);
    if (f.bias) {
        const Reduction<double, O> bias{f.bias, f.slabs, f.k, 1, f.k, f.scale, 0.0, nullptr, out + size, 0, 1};
        wrong |= reduce_gradient(bias, 1);
    }
    return wrong;
}

}  // namespace
}  // namespace fastsoftmax
