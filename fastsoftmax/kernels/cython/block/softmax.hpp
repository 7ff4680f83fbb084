// From logits to residuals, in place, on a tile H^T [class][row] with rows in the lanes: maximum, exp and sum
// over the classes are vertical, so that no step is horizontal; where classes are many, labels alone are scalar.
#pragma once

#include "block/products.hpp"

namespace fastsoftmax {
namespace {

// Labels, weights and scaled weights of a block; lanes past the last row weigh nothing.
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

// (a - b) / 2, which does not overflow where a - b would.
template <class T>
INLINE Vec<T> half_difference(Vec<T> a, Vec<T> b) {
    return a * T(0.5) - b * T(0.5);
}

// What is left of a loss beside logs, given as half of it: `block_loss` and `write_losses` take (top - hit).
template <class T>
INLINE void store_half_loss(int r, Vec<T> half, const BlockBuffers<T>& s) {
    store<T>(s.top + r, half);
    store<T>(s.hit + r, -half);
}

// H becomes exp(H - max) in place for VL rows.
template <class T>
struct Exps {
    Vec<T> top, sum, below;  // max of H, sum of the exps, sum of (max - H) / 2 times `share` (if asked for)
};
template <class T, bool BELOW = false>
INLINE Exps<T> exp_rows(T* H, ptrdiff_t R, ptrdiff_t k, T share = T(0)) {
    Exps<T> out{load(H), Vec<T>{}, Vec<T>{}};
    for (ptrdiff_t c = 1; c < k; ++c) out.top = vmax<T>(out.top, load(H + c * R));
    for (ptrdiff_t c = 0; c < k; ++c) {
        const Vec<T> h = load(H + c * R), e = vexp<T>(h - out.top);
        if constexpr (BELOW) out.below += half_difference<T>(out.top, h) * share;
        out.sum += e;
        store<T>(H + c * R, e);
    }
    return out;
}

// Classes up to which the label of a row is found by comparing it with each of them, all rows of a vector at once; from
// more, it is looked up row by row.
constexpr ptrdiff_t COMPARED = 16;

// `a` in the lanes whose label is c, else b.
template <class T>
INLINE Vec<T> where_label(IVec<T> label, ptrdiff_t c, Vec<T> a, Vec<T> b) {
    return label == (IVec<T>{}) + typename Lanes<T>::Int(c) ? a : b;
}

// Lines to fetch while a vector of a block's rows goes through softmax: no more than are left, or blocks of few
// features would be fetched several times over (500k x 10, k = 16, in F order takes 8.3 ms in place of 8.8 in
// float64). A block's first part would come too early.
template <class T>
int softmax_lines(int rows, const Pass<T>& p, Ahead& ahead) {
    const ptrdiff_t vectors = round_up<T>(rows, VL<T>) / VL<T>, steps = p.part ? 0 : softmax_steps(p.k);
    const ptrdiff_t left = (std::max<ptrdiff_t>(ahead.left, 0) + vectors - 1) / vectors;
    return int(std::min(ahead.turn(vectors * steps) * steps, left));
}

// H^T becomes D^T = w (Z - I). A row's loss is (top - hit) + logs.
template <class T, bool COMPARE>
void residual_by(int rows, const Pass<T>& p, BlockBuffers<T>& s, Ahead& ahead) {
    const ptrdiff_t R = p.block;
    const int lines = softmax_lines(rows, p, ahead);
    if (!COMPARE)
        for (int r = 0; r < rows; ++r) s.hit[r] = s.H[s.label[r] * R + r];
    for (int r = 0; r < rows; r += VL<T>) {
        ahead.fetch(lines);
        T* H = s.H + r;
        IVec<T> label{};
        if constexpr (COMPARE) {
            std::memcpy(&label, s.label + r, sizeof label);
            Vec<T> hit = load(H);
            for (ptrdiff_t c = 1; c < p.k; ++c) hit = where_label<T>(label, c, load(H + c * R), hit);
            store<T>(s.hit + r, hit);
        }
        const Exps<T> e = exp_rows(H, R, p.k);
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
void residual_of_labels(int rows, const Pass<T>& p, BlockBuffers<T>& s, Ahead& ahead) {
    p.k <= COMPARED ? residual_by<T, true>(rows, p, s, ahead) : residual_by<T, false>(rows, p, s, ahead);
}

// The same for smoothed labels, t = (1 - eps) I + eps / k: D = w (Z - t), and the loss takes
// (1 - eps) (top - h_y) + eps / k sum_c (top - h_c) for top - hit.
template <class T>
void residual_of_smoothed(int rows, const Pass<T>& p, BlockBuffers<T>& s, Ahead& ahead) {
    const ptrdiff_t R = p.block;
    const int lines = softmax_lines(rows, p, ahead);
    const T keep = T(1) - p.smoothing, share = p.smoothing / T(p.k);
    for (int r = 0; r < rows; ++r) s.hit[r] = s.H[s.label[r] * R + r];
    for (int r = 0; r < rows; r += VL<T>) {
        ahead.fetch(lines);
        T* H = s.H + r;
        const Exps<T> e = exp_rows<T, true>(H, R, p.k, share);
        store_half_loss<T>(r, half_difference<T>(e.top, load(s.hit + r)) * keep + e.below, s);
        store<T>(s.logs + r, vlog<T>(e.sum));
        if (!p.grad) continue;
        const Vec<T> wt = load(s.wt + r), by = wt / e.sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) * by - wt * share);
    }
    if (p.grad)
        for (int r = 0; r < rows; ++r) s.H[s.label[r] * R + r] -= s.wt[r] * keep;
}

// The same for any targets t (m, k) of total S = sum_c t_c: D = w (S Z - t) and the loss is
// sum_c t_c (top - h_c) + S log sum. U gets t^T; smoothing has been applied to it.
template <class T>
void residual_of_soft(int rows, const Pass<T>& p, BlockBuffers<T>& s, Ahead& ahead) {
    const ptrdiff_t R = p.block;
    const int lines = softmax_lines(rows, p, ahead);
    for (int r = 0; r < rows; r += VL<T>) {
        ahead.fetch(lines);
        T *H = s.H + r, *t = s.U + r;
        Vec<T> top = load(H), total{}, below{};
        for (ptrdiff_t c = 1; c < p.k; ++c) top = vmax<T>(top, load(H + c * R));
        for (ptrdiff_t c = 0; c < p.k; ++c) {
            total += load(t + c * R);
            below += load(t + c * R) * half_difference<T>(top, load(H + c * R));
        }
        const Vec<T> sum = exp_rows(H, R, p.k).sum;
        store_half_loss<T>(r, below, s);
        store<T>(s.logs + r, total * vlog<T>(sum));
        if (!p.grad) continue;
        const Vec<T> wt = load(s.wt + r), by = wt * total / sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) * by - wt * load(t + c * R));
    }
}

// (1 - eps) t^T + eps / k of a block, `count` classes from `begin` on; lanes past the last row get no target.
template <class T>
void load_soft(const Pass<T>& p, ptrdiff_t first, int rows, ptrdiff_t begin, ptrdiff_t count, T* out) {
    const T keep = T(1) - p.smoothing, share = p.smoothing / T(p.k);
    for (int r = 0; r < round_up<T>(rows, VL<T>); ++r) {
        const T* t = p.soft + (first + r) * p.k + begin;
        for (ptrdiff_t c = 0; c < count; ++c) out[c * p.block + r] = r < rows ? keep * t[c] + share : T(0);
    }
}

template <class T>
void residual(ptrdiff_t first, int rows, const Pass<T>& p, BlockBuffers<T>& s, Ahead& ahead) {
    load_rows(p, first, rows, s);
    if (p.soft) {
        load_soft(p, first, rows, 0, p.k, s.U);
        residual_of_soft(rows, p, s, ahead);
    } else if (p.smoothing != T(0)) {
        residual_of_smoothed(rows, p, s, ahead);
    } else {
        residual_of_labels(rows, p, s, ahead);
    }
}

// Sum of the weighted, scaled losses. Halves are subtracted, so that a row whose loss is beyond the
// largest float64 still has its share in a mean that is not.
template <class T>
double block_loss(int rows, const BlockBuffers<T>& s) {
    constexpr int LD = VL<double>;
    auto half = [&](int r) {
        return (load_double(s.top + r) * 0.5 - load_double(s.hit + r) * 0.5) + load_double(s.logs + r) * 0.5;
    };
    Vec<double> sum{};
    int r = 0;
    for (; r + LD <= rows; r += LD) sum += load(s.w + r) * 2.0 * half(r);
    if (r < rows) {  // lanes past the last row: any logits, no weight
        const Vec<double> rest = load(s.w + r) * 2.0 * half(r);
        for (int i = 0; r + i < rows; ++i) sum[i] += rest[i];
    }
    return sum_lanes<double>(sum);
}

// D^T = w Z (U - sum_c Z U), in H.
template <class T>
void curvature(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    const ptrdiff_t R = p.block;
    for (int r = 0; r < rows; r += VL<T>) {
        T *H = s.H + r, *U = s.U + r;
        const Vec<T> sum = exp_rows(H, R, p.k).sum;
        Vec<T> mean{};
        for (ptrdiff_t c = 0; c < p.k; ++c) mean += load(H + c * R) * load(U + c * R);
        mean /= sum;
        const Vec<T> by = load(s.wt + r) / sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) * by * (load(U + c * R) - mean));
    }
}

template <class T>
void add_column_sums(int rows, const Pass<T>& p, BlockBuffers<T>& s) {
    for (ptrdiff_t c = 0; c < p.k; ++c) {
        Vec<T> sum = load(s.bias + c * VL<T>);
        for (int r = 0; r < rows; r += VL<T>) sum += load(s.H + c * p.block + r);
        store<T>(s.bias + c * VL<T>, sum);
    }
}

// ----------------------------------------------------------------------------- what a row may ask for

// The first of the largest logits.
template <class T>
void label_rows(ptrdiff_t first, int rows, const Pass<T>& p, const BlockBuffers<T>& s, int64_t* out) {
    for (int r = 0; r < rows; r += VL<T>) {
        Vec<T> top = load(s.H + r);
        IVec<T> at{};
        for (ptrdiff_t c = 1; c < p.k; ++c) {
            const Vec<T> h = load(s.H + c * p.block + r);
            const IVec<T> here = (IVec<T>{}) + typename Lanes<T>::Int(c);
            at = h > top ? here : at;
            top = vmax<T>(top, h);
        }
        for (int i = 0; i < VL<T> && r + i < rows; ++i) out[first + r + i] = at[i];
    }
}

template <class T>
void write_losses(ptrdiff_t first, int rows, const Pass<T>& p, const BlockBuffers<T>& s) {
    for (int r = 0; r < rows; ++r)
        p.row_loss[first + r] = T((double(s.top[r]) - double(s.hit[r])) + double(s.logs[r]));
}

// ---------------------------------------------------------------------------------------- predictions

// NaN where a logit is not finite: 0 * inf and 0 * NaN are NaN.
template <class T>
double finite_or_nan(int rows, const Pass<T>& p, const BlockBuffers<T>& s) {
    Vec<T> sum{};
    const int full = rows / VL<T> * VL<T>;
    T rest = 0;
    for (ptrdiff_t c = 0; c < p.k; ++c) {
        for (int r = 0; r < full; r += VL<T>) sum += load(s.H + c * p.block + r) * splat<T>(T(0));
        for (int r = full; r < rows; ++r) rest += s.H[c * p.block + r] * T(0);
    }
    return sum_lanes<T>(sum) + double(rest);
}

// H^T becomes Z^T or log Z^T in place.
template <class T>
void softmax_rows(int rows, Prediction kind, const Pass<T>& p, BlockBuffers<T>& s) {
    const ptrdiff_t R = p.block;
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + r;
        if (kind == PROBA) {
            const Vec<T> sum = exp_rows(H, R, p.k).sum;
            for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) / sum);
            continue;
        }
        Vec<T> top = load(H), sum{};
        for (ptrdiff_t c = 1; c < p.k; ++c) top = vmax<T>(top, load(H + c * R));
        for (ptrdiff_t c = 0; c < p.k; ++c) sum += vexp<T>(load(H + c * R) - top);
        const Vec<T> log_sum = vlog<T>(sum);
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, (load(H + c * R) - top) - log_sum);
    }
}

}  // namespace
}  // namespace fastsoftmax
