// What happens to the logits of a block between the two products: softmax, residuals, losses, predictions.
//
// H^T is [class][row] with rows in the lanes. The maximum, the exponentials and their sum over the classes go from
// vector to vector, so nothing is added across lanes. All of it is in place; with many classes, only the labels are
// looked up one by one. Lanes past the last row have no weight.
#pragma once

#include "block/products.hpp"

namespace fastsoftmax {
namespace {

// What a residual comes from. Of many classes, labels are looked up row by row; of few, they are compared with each
// class, for a vector of rows at once. `other` is the direction's logits U or the targets t, [class][row] as H is:
//
//     COMPARED, LABELS   D = w (Z - I)              loss (top - h_y) + log(sum)
//     SMOOTHED           D = w (Z - t)              loss (1 - eps) (top - h_y) + eps / k sum_c (top - h_c) + log(sum)
//     SOFT               D = w (S Z - t)            loss sum_c t_c (top - h_c) + S log(sum)
//     DIRECTION          D = w Z (U - sum_c Z U)    no loss
//
// with sum = sum_c exp(h_c - top), Z = exp(H - top) / sum, S = sum_c t_c; t = (1 - eps) I + eps / k where smoothed.
enum Target { COMPARED, LABELS, SMOOTHED, SOFT, DIRECTION };

constexpr ptrdiff_t COMPARED_CLASSES = 16;  // or fewer are compared

// 1 - eps and eps / k.
template <class T>
T keep_of(const Pass<T>& p) {
    return T(1) - T(p.smoothing);
}
template <class T>
T share_of(const Pass<T>& p) {
    return T(p.smoothing) / T(p.k);
}

// f with the target of a pass, as a constant.
template <class T, class F>
void with_target(const Pass<T>& p, F f) {
    if (p.direction) return f(std::integral_constant<Target, DIRECTION>{});
    if (p.soft) return f(std::integral_constant<Target, SOFT>{});
    if (p.smoothing != 0) return f(std::integral_constant<Target, SMOOTHED>{});
    f(std::integral_constant<Target, LABELS>{});
}

// ------------------------------------------------------------------------------------------ a vector of rows

// (a - b) / 2, which may be finite where a - b is not.
template <class T>
INLINE Vec<T> half_difference(Vec<T> a, Vec<T> b) {
    return a * T(0.5) - b * T(0.5);
}

// The largest of k logits.
template <class T>
INLINE Vec<T> largest(const T* H, ptrdiff_t R, ptrdiff_t k) {
    Vec<T> top = load(H);
    for (ptrdiff_t c = 1; c < k; ++c) top = maximum<T>(top, load(H + c * R));
    return top;
}

// Sums over classes: of the exponentials; of what else the residual or the loss takes, sum_c exp(h_c - top) u_c of a
// direction, sum_c t_c (top - h_c) / 2 of targets, without the label's part if SMOOTHED; of soft targets.
template <class T>
struct ClassSums {
    Vec<T> sum{}, more{}, mass{};
};

// H becomes exp(H - top), in place.
template <class T, Target TARGET = LABELS>
INLINE ClassSums<T> exponentials(T* H, const T* other, ptrdiff_t R, ptrdiff_t k, Vec<T> top, T share = T(0)) {
    ClassSums<T> out;
    for (ptrdiff_t c = 0; c < k; ++c) {
        const Vec<T> h = load(H + c * R), e = vexp<T>(h - top);
        out.sum += e;
        if constexpr (TARGET == SMOOTHED) out.more += half_difference<T>(top, h) * share;
        if constexpr (TARGET == DIRECTION) out.more += e * load(other + c * R);
        if constexpr (TARGET == SOFT) {
            const Vec<T> t = load(other + c * R);
            out.mass += t;
            out.more += t * half_difference<T>(top, h);
        }
        store<T>(H + c * R, e);
    }
    return out;
}

// `a` in the lanes whose label is c, else b.
template <class T>
INLINE Vec<T> where_label(IVec<T> label, ptrdiff_t c, Vec<T> a, Vec<T> b) {
    return label == (IVec<T>{}) + typename Lanes<T>::Int(c) ? a : b;
}

// The exponentials in H become D, but for the part of labels that are looked up.
template <class T, Target TARGET>
INLINE void residuals(T* H, const T* other, ptrdiff_t R, ptrdiff_t k, Vec<T> wt, const ClassSums<T>& sums, T share,
                      IVec<T> label = IVec<T>{}) {
    const Vec<T> by = (TARGET == SOFT ? wt * sums.mass : wt) / sums.sum;
    const Vec<T> mean = TARGET == DIRECTION ? sums.more / sums.sum : Vec<T>{};
    for (ptrdiff_t c = 0; c < k; ++c) {
        Vec<T> z = load(H + c * R) * by;
        if constexpr (TARGET == COMPARED) z -= where_label<T>(label, c, wt, Vec<T>{});
        if constexpr (TARGET == SMOOTHED) z -= wt * share;
        if constexpr (TARGET == SOFT) z -= wt * load(other + c * R);
        if constexpr (TARGET == DIRECTION) z *= load(other + c * R) - mean;
        store<T>(H + c * R, z);
    }
}

// Stores what `block_loss` and `write_losses` take the losses of rows r, r + 1, ... from, (top - hit) + logs. Losses
// that are not of labels alone come as a half, with top - hit = 2 half.
template <class T, Target TARGET>
INLINE void store_loss(int r, Vec<T> top, const ClassSums<T>& sums, const Pass<T>& p, const BlockBuffers<T>& s) {
    if constexpr (TARGET == DIRECTION) return;
    Vec<T> half = sums.more;
    if constexpr (TARGET == SMOOTHED) half += half_difference<T>(top, load(s.hit + r)) * keep_of(p);
    store<T>(s.top + r, TARGET <= LABELS ? top : half);
    if constexpr (TARGET > LABELS) store<T>(s.hit + r, -half);
    store<T>(s.logs + r, TARGET == SOFT ? sums.mass * vlog<T>(sums.sum) : vlog<T>(sums.sum));
}

// ---------------------------------------------------------------------------------------------- a block

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

// out = (1 - eps) t^T + eps / k of a block, for `count` classes from `begin` on. Lanes past the last row get 0.
template <class T>
void load_targets(const Pass<T>& p, ptrdiff_t first, int rows, ptrdiff_t begin, ptrdiff_t count, T* out) {
    const T keep = keep_of(p), share = share_of(p);
    for (int r = 0; r < round_up<T>(rows, VL<T>); ++r) {
        const T* t = p.soft + (first + r) * p.k + begin;
        for (ptrdiff_t c = 0; c < count; ++c) out[c * p.block + r] = r < rows ? keep * t[c] + share : T(0);
    }
}

// The logits of the labels, row by row.
template <class T>
void look_up_labels(int rows, const Pass<T>& p, const BlockBuffers<T>& s) {
    for (int r = 0; r < rows; ++r) s.hit[r] = s.H[s.label[r] * p.block + r];
}

// The part of the labels in D, for `count` classes from `begin` on.
template <class T>
void subtract_labels(ptrdiff_t begin, ptrdiff_t count, int rows, const Pass<T>& p, const BlockBuffers<T>& s) {
    const T keep = keep_of(p);
    for (int r = 0; r < rows; ++r)
        if (s.label[r] >= begin && s.label[r] < begin + count) s.H[s.label[r] * p.block + r] -= s.wt[r] * keep;
}

// Lines to prefetch during the softmax of a vector of rows: no more than are left, or blocks of few features would be
// prefetched several times over (500k x 10, k = 16, in F order, float64: 8.3 ms, was 8.8). With KC blocks there are
// none, since it is too early for the next block.
template <class T>
int softmax_lines(int rows, const Pass<T>& p, Prefetcher& prefetch) {
    const ptrdiff_t vectors = round_up<T>(rows, VL<T>) / VL<T>;
    const ptrdiff_t steps = p.products.kc_block || p.direction ? 0 : softmax_steps(p.k);
    const ptrdiff_t left = (std::max<ptrdiff_t>(prefetch.left, 0) + vectors - 1) / vectors;
    return int(std::min(prefetch.lines_per_step(vectors * steps) * steps, left));
}

// H^T becomes D^T, and the losses of the rows are stored; the rows are loaded.
template <class T, Target TARGET>
void residual_of(int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    constexpr bool looked_up = TARGET == LABELS || TARGET == SMOOTHED;
    const ptrdiff_t R = p.block;
    const T share = share_of(p);
    const int lines = softmax_lines(rows, p, prefetch);
    if (looked_up) look_up_labels(rows, p, s);
    for (int r = 0; r < rows; r += VL<T>) {
        prefetch.next_lines(lines);
        T *H = s.H + r, *other = s.U + r;
        IVec<T> label{};
        if constexpr (TARGET == COMPARED) {
            std::memcpy(&label, s.label + r, sizeof label);
            Vec<T> hit = load(H);
            for (ptrdiff_t c = 1; c < p.k; ++c) hit = where_label<T>(label, c, load(H + c * R), hit);
            store<T>(s.hit + r, hit);
        }
        const Vec<T> top = largest(H, R, p.k);
        const ClassSums<T> sums = exponentials<T, TARGET>(H, other, R, p.k, top, share);
        store_loss<T, TARGET>(r, top, sums, p, s);
        if (p.grad) residuals<T, TARGET>(H, other, R, p.k, load(s.wt + r), sums, share, label);
    }
    if (looked_up && p.grad) subtract_labels(0, p.k, rows, p, s);
}

template <class T>
void residual_of_labels(int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    p.k <= COMPARED_CLASSES ? residual_of<T, COMPARED>(rows, p, s, prefetch)
                            : residual_of<T, LABELS>(rows, p, s, prefetch);
}

// The softmax of a block: H^T becomes D^T, and what is wanted of each row is written. Returns the loss.
template <class T>
double residual(ptrdiff_t first, int rows, const Pass<T>& p, BlockBuffers<T>& s, Prefetcher& prefetch) {
    load_rows(p, first, rows, s);
    if (p.row_label) label_rows(first, rows, p, s, p.row_label);
    if (p.soft) load_targets(p, first, rows, 0, p.k, s.U);
    with_target(p, [&](auto target) {
        if constexpr (target == LABELS)
            residual_of_labels(rows, p, s, prefetch);
        else
            residual_of<T, target>(rows, p, s, prefetch);
    });
    if (p.row_loss) write_losses(first, rows, p, s);
    return p.direction ? 0 : block_loss(rows, s);
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

// start + the sums of D^T over the rows of a class, lane by lane.
template <class T>
INLINE Vec<T> column_sum(ptrdiff_t c, int rows, const Pass<T>& p, const BlockBuffers<T>& s, Vec<T> start) {
    for (int r = 0; r < rows; r += VL<T>) start += load(s.H + c * p.block + r);
    return start;
}

// bias[c] += the same.
template <class T>
void add_column_sums(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    for (ptrdiff_t c = 0; c < p.k; ++c)
        store<T>(s.bias + c * VL<T>, column_sum(c, rows, p, s, load(s.bias + c * VL<T>)));
}

// bias_grad[c] += the same for classes begin .. end, in float64.
template <class T>
void add_column_sums(ptrdiff_t begin, ptrdiff_t end, int rows, const Pass<T>& p, const BlockBuffers<T>& s,
                     double* bias_grad) {
    for (ptrdiff_t c = begin; c < end; ++c) bias_grad[c] += sum_lanes<T>(column_sum(c, rows, p, s, Vec<T>{}));
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

// H^T becomes Z^T, the probabilities: by division, which rounds once, or multiplied by the reciprocals of the sums.
template <class T, bool DIVIDE>
void proba_rows(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + r;
        const Vec<T> sum = exponentials<T>(H, H, p.block, p.k, largest(H, p.block, p.k)).sum;
        const Vec<T> by = splat<T>(T(1)) / sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) {
            const Vec<T> e = load(H + c * p.block);
            store<T>(H + c * p.block, DIVIDE ? e / sum : e * by);
        }
    }
}

// H^T becomes log Z^T.
template <class T>
void log_proba_rows(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + r;
        const Vec<T> top = largest(H, p.block, p.k);
        Vec<T> sum{};
        for (ptrdiff_t c = 0; c < p.k; ++c) sum += vexp<T>(load(H + c * p.block) - top);
        const Vec<T> log_sum = vlog<T>(sum);
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * p.block, (load(H + c * p.block) - top) - log_sum);
    }
}

template <class T>
void predict_rows(int rows, Prediction kind, const Pass<T>& p, BlockBuffers<T>& s) {
    kind == PROBA ? proba_rows<T, true>(rows, p, s) : log_proba_rows(rows, p, s);
}

}  // namespace
}  // namespace fastsoftmax
