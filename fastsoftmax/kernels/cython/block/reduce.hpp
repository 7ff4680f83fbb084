// Sums of a sparse gradient, and what becomes of them.
//
// Of float32 X the gradient G (n, k) is summed in float32: half the memory that the passes live on. Of columns with
// many entries ("hot" ones, few of them by Zipf's law) the sums go on to float64 after every few blocks of rows, so
// that no float32 sum gets long. Where, depends on the numbers of blocks alone, and so does no bit on threads.
//
//     level 0: columns in nearly every row         moved after each block
//     level l: half as frequent as level l - 1     moved after each 2^l blocks
#pragma once

#include <cmath>

#include <algorithm>
#include <limits>

#include "call.hpp"
#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

// Moves the sums of the hot columns in from..to - 1 whose turn it is once `blocks` blocks have been added.
template <class G>
void settle(const Hot& hot, ptrdiff_t blocks, ptrdiff_t from, ptrdiff_t to, ptrdiff_t k, G* grad, double* hot_grad) {
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

constexpr int FINISH = 1024;  // values of the gradient at a time

// out = scale * (sum of the slabs in the order of their numbers) + l2 theta for `size` values. Returns whether a scaled
// sum, and whether an element of `out`, is not finite. `out` may be the only slab.
template <class G, class O>
int finish_piece(const G* grad, ptrdiff_t slabs, ptrdiff_t stride, int size, double scale, double l2, const O* theta,
                 O* out) {
    double sum[FINISH];
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

// The same for all of a gradient of `size` values.
template <class G, class O>
int finish(const G* grad, ptrdiff_t slabs, ptrdiff_t size, double scale, double l2, const O* theta, O* out,
           int threads) {
    const ptrdiff_t pieces = (size + FINISH - 1) / FINISH;
    int wrong = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : wrong)
    for (ptrdiff_t piece = 0; piece < pieces; ++piece) {
        const ptrdiff_t at = piece * FINISH;
        wrong |= finish_piece(grad + at, slabs, size, int(std::min<ptrdiff_t>(FINISH, size - at)), scale, l2,
                              theta ? theta + at : nullptr, out + at);
    }
    return wrong;
}

}  // namespace
}  // namespace fastsoftmax
