// What happens to the logits of a block between the two products: softmax, residuals, losses, predictions.
//
// H^T is [class][row] with rows in the lanes. The maximum, the exponentials and their sum over the classes go from
// vector to vector, so nothing is added across lanes. All of it is in place; with many classes, only the labels are
// looked up one by one. Lanes past the last row have no weight.
#pragma once

#include "block/products.hpp"

namespace fastsoftmax {
namespace {

// Labels, weights and scaled weights of a block. Lanes past the last row get weight 0.
template <class T>
void load_rows(const Pass<T>& p, ptrdiff_t first, int rows, const BlockBuffers<T>& s) {
    const int lanes = round_up<T>(rows, VL<T>);
    for (int r = 0; r < rows; ++r) s.label[r] = p.y ? p.y[first + r] : 0;
    if (p.w) {
        for (int r = 0; r < rows; ++r) s.wt[r] = T(p.w[first + r]);
        for (int r = 0; r < rows; ++r) s.w[r] = p.w[first + r] * p.scale;
    } else {
        std::fill_n(s.wt, rows, T(1));
        std::fill_n(s.w, rows, p.scale);
    }
    for (int r = rows; r < lanes; ++r) s.label[r] = 0, s.wt[r] = 0, s.w[r] = 0;
}

// (a - b) / 2, which may be finite where a - b is not.
template <class T>
INLINE Vec<T> half_difference(Vec<T> a, Vec<T> b) {
    return a * T(0.5) - b * T(0.5);
}

// Stores a loss so that top - hit = 2 half: `block_loss` and `write_losses` take (top - hit) + logs for the loss of a
// row.
template <class T>
INLINE void store_half_loss(int r, Vec<T> half, const BlockBuffers<T>& s) {
    store<T>(s.top + r, half);
    store<T>(s.hit + r, -half);
}

// What `exponentials` returns for VL rows.
template <class T>
struct Exponentials {
    Vec<T> top, sum, below;  // largest logit, sum of the exponentials; with BELOW, sum of share * (top - H) / 2
};

// H becomes exp(H - top) for VL rows, in place.
template <class T, bool BELOW = false>
INLINE Exponentials<T> exponentials(T* H, ptrdiff_t R, ptrdiff_t k, T share = T(0)) {
    Exponentials<T> out{load(H), Vec<T>{}, Vec<T>{}};
    for (ptrdiff_t c = 1; c < k; ++c) out.top = maximum<T>(out.top, load(H + c * R));
    for (ptrdiff_t c = 0; c < k; ++c) {
        const Vec<T> h = load(H + c * R), e = vexp<T>(h - out.top);
        if constexpr (BELOW) out.below += half_difference<T>(out.top, h) * share;
        out.sum += e;
        store<T>(H + c * R, e);
    }
    return out;
}

// With so many classes or fewer, labels are compared with each class, for a vector of rows at once. With more, the
// logit of the label is looked up row by row.
constexpr ptrdiff_t COMPARED_CLASSES = 16;

// `a` in the lanes whose label is c, else b.
template <class T>
INLINE Vec<T> where_label(IVec<T> label, ptrdiff_t c, Vec<T> a, Vec<T> b) {
    return label == (IVec<T>{}) + typename Lanes<T>::Int(c) ? a : b;
}

// Lines to prefetch during the softmax of a vector of rows: no more than are left, or blocks of few features would be
// prefetched several times over (500k x 10, k = 16, in F order, float64: 8.3 ms, was 8.8). With KC blocks there are
// none, since it is too early for the next block.
template <class T>
int softmax_lines(int rows, const Pass<T>& p, Prefetcher& prefetch) {
    const ptrdiff_t vectors = round_up<T>(rows, VL<T>) / VL<T>, steps = p.products.kc_block ? 0 : softmax_steps(p.k);
    const ptrdiff_t left = (std::max<ptrdiff_t>(prefetch.left, 0) + vectors - 1) / vectors;
    return int(std::min(prefetch.lines_per_step(vectors * steps) * steps, left));
}

// H^T becomes D^T = w (Z - I), where I is 1 for the label of a row. The loss of a row is (top - hit) + logs.
template <class T, bool COMPARE>
void residual_by(int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    const ptrdiff_t R = p.block;
    const int lines = softmax_lines(rows, p, prefetch);
    if (!COMPARE)
        for (int r = 0; r < rows; ++r) s.hit[r] = s.H[s.label[r] * R + r];
    for (int r = 0; r < rows; r += VL<T>) {
        prefetch.next_lines(lines);
        T* H = s.H + r;
        IVec<T> label{};
        if constexpr (COMPARE) {
            std::memcpy(&label, s.label + r, sizeof label);
            Vec<T> hit = load(H);
            for (ptrdiff_t c = 1; c < p.k; ++c) hit = where_label<T>(label, c, load(H + c * R), hit);
            store<T>(s.hit + r, hit);
        }
        const Exponentials<T> e = exponentials(H, R, p.k);
        store<T>(s.top + r, e.top);
        store<T>(s.logs + r, vlog<T>(e.sum));
        if (!p.grad) continue;
        const Vec<T> wt = load(s.wt + r), by = wt / e.sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) {
            const Vec<T> Z = load(H + c * R) * by;
            store<T>(H + c * R, COMPARE ? Z - where_label<T>(label, c, wt, Vec<T>{}) : Z);
        }
    }
    if (!COMPARE && p.grad)
        for (int r = 0; r < rows; ++r) s.H[s.label[r] * R + r] -= s.wt[r];
}

template <class T>
void residual_of_labels(int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    p.k <= COMPARED_CLASSES ? residual_by<T, true>(rows, p, s, prefetch) : residual_by<T, false>(rows, p, s, prefetch);
}

// The same for smoothed labels t = (1 - eps) I + eps / k: D = w (Z - t), and in the loss
// (1 - eps) (top - h_y) + eps / k sum_c (top - h_c) takes the place of top - hit.
template <class T>
void residual_of_smoothed(int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    const ptrdiff_t R = p.block;
    const int lines = softmax_lines(rows, p, prefetch);
    const T keep = T(1) - p.smoothing, share = p.smoothing / T(p.k);
    for (int r = 0; r < rows; ++r) s.hit[r] = s.H[s.label[r] * R + r];
    for (int r = 0; r < rows; r += VL<T>) {
        prefetch.next_lines(lines);
        T* H = s.H + r;
        const Exponentials<T> e = exponentials<T, true>(H, R, p.k, share);
        store_half_loss<T>(r, half_difference<T>(e.top, load(s.hit + r)) * keep + e.below, s);
        store<T>(s.logs + r, vlog<T>(e.sum));
        if (!p.grad) continue;
        const Vec<T> wt = load(s.wt + r), by = wt / e.sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) * by - wt * share);
    }
    if (p.grad)
        for (int r = 0; r < rows; ++r) s.H[s.label[r] * R + r] -= s.wt[r] * keep;
}

// The same for any targets t (m, k) of total S = sum_c t_c: D = w (S Z - t), and the loss is
// sum_c t_c (top - h_c) + S log(sum of the exponentials). U holds t^T, smoothed already.
template <class T>
void residual_of_soft(int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    const ptrdiff_t R = p.block;
    const int lines = softmax_lines(rows, p, prefetch);
    for (int r = 0; r < rows; r += VL<T>) {
        prefetch.next_lines(lines);
        T *H = s.H + r, *t = s.U + r;
        Vec<T> top = load(H), total{}, below{};
        for (ptrdiff_t c = 1; c < p.k; ++c) top = maximum<T>(top, load(H + c * R));
        for (ptrdiff_t c = 0; c < p.k; ++c) {
            total += load(t + c * R);
            below += load(t + c * R) * half_difference<T>(top, load(H + c * R));
        }
        const Vec<T> sum = exponentials(H, R, p.k).sum;
        store_half_loss<T>(r, below, s);
        store<T>(s.logs + r, total * vlog<T>(sum));
        if (!p.grad) continue;
        const Vec<T> wt = load(s.wt + r), by = wt * total / sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) * by - wt * load(t + c * R));
    }
}

// out = (1 - eps) t^T + eps / k of a block, for `count` classes from `begin` on. Lanes past the last row get 0.
template <class T>
void load_targets(const Pass<T>& p, ptrdiff_t first, int rows, ptrdiff_t begin, ptrdiff_t count, T* out) {
    const T keep = T(1) - p.smoothing, share = p.smoothing / T(p.k);
    for (int r = 0; r < round_up<T>(rows, VL<T>); ++r) {
        const T* t = p.soft + (first + r) * p.k + begin;
        for (ptrdiff_t c = 0; c < count; ++c) out[c * p.block + r] = r < rows ? keep * t[c] + share : T(0);
    }
}

// H^T becomes D^T, and the losses of the rows are stored, for whatever targets the pass has.
template <class T>
void residual(ptrdiff_t first, int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    load_rows(p, first, rows, s);
    if (p.soft) {
        load_targets(p, first, rows, 0, p.k, s.U);
        residual_of_soft(rows, p, s, prefetch);
    } else if (p.smoothing != T(0)) {
        residual_of_smoothed(rows, p, s, prefetch);
    } else {
        residual_of_labels(rows, p, s, prefetch);
    }
}

// The sum of the weighted, scaled losses of a block. Losses are formed as halves, so that one beyond the largest
// float64 may still be part of a finite mean.
template <class T>
double block_loss(int rows, const BlockBuffers<T>& s) {
    constexpr int LD = VL<double>;
    auto half = [&](int r) {
        return (load_double(s.top + r) * 0.5 - load_double(s.hit + r) * 0.5) + load_double(s.logs + r) * 0.5;
    };
    Vec<double> sum{};
    int r = 0;
    for (; r + LD <= rows; r += LD) sum += load(s.w + r) * 2.0 * half(r);
    if (r < rows) {  // lanes past the last row hold any logits
        const Vec<double> rest = load(s.w + r) * 2.0 * half(r);
        for (int i = 0; r + i < rows; ++i) sum[i] += rest[i];
    }
    return sum_lanes<double>(sum);
}

// H^T becomes D^T = w Z (U - sum_c Z U), the residual of a Hessian product.
template <class T>
void hessian_residual(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    const ptrdiff_t R = p.block;
    for (int r = 0; r < rows; r += VL<T>) {
        T *H = s.H + r, *U = s.U + r;
        const Vec<T> sum = exponentials(H, R, p.k).sum;
        Vec<T> mean{};
        for (ptrdiff_t c = 0; c < p.k; ++c) mean += load(H + c * R) * load(U + c * R);
        mean /= sum;
        const Vec<T> by = load(s.wt + r) / sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) * by * (load(U + c * R) - mean));
    }
}

// bias[c] += sums of D^T over the rows, lane by lane.
template <class T>
void add_column_sums(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    for (ptrdiff_t c = 0; c < p.k; ++c) {
        Vec<T> sum = load(s.bias + c * VL<T>);
        for (int r = 0; r < rows; r += VL<T>) sum += load(s.H + c * p.block + r);
        store<T>(s.bias + c * VL<T>, sum);
    }
}

// ------------------------------------------------------------------------- what is wanted of each row

// The class of the largest logit of each row, the first of equal ones.
template <class T>
void label_rows(ptrdiff_t first, int rows, const Pass<T>& p, const BlockBuffers<T>& s, int64_t* out) {
    for (int r = 0; r < rows; r += VL<T>) {
        Vec<T> top = load(s.H + r);
        IVec<T> at{};
        for (ptrdiff_t c = 1; c < p.k; ++c) {
            const Vec<T> h = load(s.H + c * p.block + r);
            const IVec<T> here = (IVec<T>{}) + typename Lanes<T>::Int(c);
            at = h > top ? here : at;
            top = maximum<T>(top, h);
        }
        for (int i = 0; i < VL<T> && r + i < rows; ++i) out[first + r + i] = at[i];
    }
}

// The loss of each row.
template <class T>
void write_losses(ptrdiff_t first, int rows, const Pass<T>& p, const BlockBuffers<T>& s) {
    for (int r = 0; r < rows; ++r) p.row_loss[first + r] = T((double(s.top[r]) - double(s.hit[r])) + double(s.logs[r]));
}

// ---------------------------------------------------------------------------------------- predictions

// 0, or NaN if a logit is not finite: 0 * inf and 0 * NaN are NaN.
template <class T>
double not_finite(int rows, const Pass<T>& p, const BlockBuffers<T>& s) {
    Vec<T> sum{};
    const int full = rows / VL<T> * VL<T>;
    T rest = 0;
    for (ptrdiff_t c = 0; c < p.k; ++c) {
        for (int r = 0; r < full; r += VL<T>) sum += load(s.H + c * p.block + r) * splat<T>(T(0));
        for (int r = full; r < rows; ++r) rest += s.H[c * p.block + r] * T(0);
    }
    return sum_lanes<T>(sum) + double(rest);
}

// H^T becomes Z^T, the probabilities, by multiplication with the reciprocals of the sums.
template <class T>
void proba_rows(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + r;
        const Vec<T> by = splat<T>(T(1)) / exponentials(H, p.block, p.k).sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * p.block, load(H + c * p.block) * by);
    }
}

// H^T becomes Z^T, by division, which rounds once, or log Z^T.
template <class T>
void predict_rows(int rows, Prediction kind, const Pass<T>& p, BlockBuffers<T>& s) {
    const ptrdiff_t R = p.block;
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + r;
        if (kind == PROBA) {
            const Vec<T> sum = exponentials(H, R, p.k).sum;
            for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) / sum);
            continue;
        }
        Vec<T> top = load(H), sum{};
        for (ptrdiff_t c = 1; c < p.k; ++c) top = maximum<T>(top, load(H + c * R));
        for (ptrdiff_t c = 0; c < p.k; ++c) sum += vexp<T>(load(H + c * R) - top);
        const Vec<T> log_sum = vlog<T>(sum);
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, (load(H + c * R) - top) - log_sum);
    }
}

}  // namespace
}  // namespace fastsoftmax
