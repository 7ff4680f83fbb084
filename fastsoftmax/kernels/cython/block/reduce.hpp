// Sums of a sparse gradient: float32 sums that are flushed into float64, and the reduction of the slabs.
//
// The gradient G (n, k) of float32 X is summed in float32, half the memory that the passes live on. Hot columns have so
// many entries that a float32 sum would lose accuracy; by Zipf's law they are few. Their sums are flushed into float64
// after every few blocks of rows. When depends on the numbers of the blocks alone, so results do not depend on the
// threads.
//
//     level 0: columns with entries in nearly every row     flushed after each block
//     level l: half as frequent as level l - 1              flushed after each 2^l blocks
#pragma once

#include <cmath>

#include <algorithm>
#include <limits>

#include "call.hpp"
#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

// Flushes the hot columns in from .. to that are due after `blocks` blocks: moves their sums to `hot_grad`.
template <class G>
void flush_hot_columns(const Hot& hot, ptrdiff_t blocks, ptrdiff_t from, ptrdiff_t to, ptrdiff_t k, G* grad,
                       double* hot_grad) {
    for (ptrdiff_t level = 0; level < hot.levels && blocks % (ptrdiff_t(1) << level) == 0; ++level) {
        const int64_t *begin = hot.columns + hot.starts[level], *end = hot.columns + hot.starts[level + 1];
        for (const int64_t* at = std::lower_bound(begin, end, from); at < end && *at < to; ++at) {
            G* sums = grad + *at * k;
            double* out = hot_grad + (at - hot.columns) * k;
            for (ptrdiff_t c = 0; c < k; ++c) {
                out[c] += double(sums[c]);
                sums[c] = 0;
            }
        }
    }
}

constexpr int REDUCE_VALUES = 1024;  // reduced at a time, so that their float64 sums stay in the L1 cache

// out = scale * (sum of the slabs in the order of their numbers) + l2 theta for `size` values; theta may be null, and
// `out` may be the only slab. Returns SUMS_WRONG if a scaled sum is not finite, and STORED_WRONG if a value of `out` is
// not.
template <class G, class O>
int reduce_piece(const G* grad, ptrdiff_t slabs, ptrdiff_t stride, int size, double scale, double l2, const O* theta,
                 O* out) {
    double sum[REDUCE_VALUES];
    for (int i = 0; i < size; ++i) sum[i] = double(grad[i]);
    for (ptrdiff_t p = 1; p < slabs; ++p)
        for (int i = 0; i < size; ++i) sum[i] += double(grad[p * stride + i]);
    int wrong = 0, wrongly_stored = 0;
    for (int i = 0; i < size; ++i) {
        sum[i] *= scale;
        wrong |= !(std::abs(sum[i]) <= std::numeric_limits<double>::max());
    }
    if (theta)
        for (int i = 0; i < size; ++i) sum[i] += l2 * double(theta[i]);
    for (int i = 0; i < size; ++i) {
        const O stored = O(sum[i]);
        wrongly_stored |= !(std::abs(stored) <= std::numeric_limits<O>::max());
        out[i] = stored;
    }
    return (wrong ? SUMS_WRONG : 0) | (wrongly_stored ? STORED_WRONG : 0);
}

// The same for a whole gradient of `size` values, by several threads.
template <class G, class O>
int reduce_gradient(const G* grad, ptrdiff_t slabs, ptrdiff_t size, double scale, double l2, const O* theta, O* out,
                    int threads) {
    const ptrdiff_t pieces = (size + REDUCE_VALUES - 1) / REDUCE_VALUES;
    int wrong = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : wrong)
    for (ptrdiff_t piece = 0; piece < pieces; ++piece) {
        const ptrdiff_t at = piece * REDUCE_VALUES;
        wrong |= reduce_piece(grad + at, slabs, size, int(std::min<ptrdiff_t>(REDUCE_VALUES, size - at)), scale, l2,
                              theta ? theta + at : nullptr, out + at);
    }
    return wrong;
}

// The first slab becomes the sum of all, added in the order of their numbers.
inline void add_slabs(double* slabs, ptrdiff_t count, ptrdiff_t size) {
    for (ptrdiff_t p = 1; p < count; ++p)
        for (ptrdiff_t i = 0; i < size; ++i) slabs[i] += slabs[p * size + i];
}

// out (n, k) = scale * grad (k, n), transposed, + l2 * theta; returns what is wrong, as above.
inline int scale_transposed(const double* grad, ptrdiff_t k, ptrdiff_t n, double scale, double l2, const double* theta,
                            double* out) {
    bool finite = true, stored = true;
    for (ptrdiff_t j = 0; j < n; ++j)
        for (ptrdiff_t c = 0; c < k; ++c) {
            const double value = scale * grad[c * n + j], sum = theta ? value + l2 * theta[j * k + c] : value;
            finite &= std::isfinite(value);
            stored &= std::isfinite(sum);
            out[j * k + c] = sum;
        }
    return (finite ? 0 : SUMS_WRONG) | (stored ? 0 : STORED_WRONG);
}

// The reduction of a dense gradient, which is small, by one thread. The first slab becomes the sum of all.
inline int reduce_transposed(const ReduceCall& f) {
    double *grad = (double*)f.grad, *out = (double*)f.out;
    add_slabs(grad, f.slabs, f.k * f.n);
    int wrong = scale_transposed(grad, f.k, f.n, f.scale, f.l2, (const double*)f.theta, out);
    if (f.bias) {
        add_slabs(f.bias, f.slabs, f.k);
        wrong |= scale_transposed(f.bias, f.k, 1, f.scale, 0.0, nullptr, out + f.n * f.k);
    }
    return wrong;
}

}  // namespace
}  // namespace fastsoftmax
