// The fused passes over dense X. For each block of rows: pack, forward, softmax to residual, backward.
//
//     X block --pack--> columns --tile(theta)--> H^T --softmax--> D^T --tile--> G += D^T X
//        \------------> rows ------------------------------------------^
//
// All of it stays in the L2 cache; X comes from memory once. H^T and D^T share one buffer [class][row].
// Slabs of rows are worked on in parallel, each with a loss and gradient of its own, so that sums do not
// depend on the number of threads.
#pragma once

#include <algorithm>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "pack.hpp"

namespace {

// One call's input, cut and outputs; filled in by Cython. Pointers may be null where noted.
template <class T>
struct Pass {
    Source X;
    ptrdiff_t m, n, k;
    const int32_t* y;             // null for predict, gram and soft targets
    const T* soft;                // (m, k) in C order, or null
    T smoothing;                  // this share of each target is spread evenly over the classes
    const double* w;              // null: all ones
    const T *theta, *bias;        // (n, k) in C order; bias (k,) or null
    const T *along, *along_bias;  // direction of hess_prod, like theta
    double *loss, *grad_bias;     // per slab: 1, k
    void* grad;                   // per slab: (k, n), float64; null: loss only
    bool single_grad;             // class-parallel: the gradient is float32
    double scale;
    T *dX, *row_loss;  // (m, n) in C order; (m,); null if not wanted
    int64_t* row_label;  // (m,) or null
    ptrdiff_t slabs, slab_rows, block, run;
    int threads;
    T* work;  // work_size() values
};

// A thread's buffers, cut from Pass::work; every piece starts on a cache line.
template <class T>
struct Scratch {
    typedef typename Lanes<T>::Int Int;
    T *staged, *columns, *rows, *H, *U, *G, *bias, *wt, *top, *hit, *logs;
    Int* label;
    double* w;
    ptrdiff_t size;
    Scratch(T* at, const Pass<T>& p, ptrdiff_t outputs) {
        T* start = at;
        const ptrdiff_t R = p.block, wide = round_up<T>(p.n);
        auto take = [&](ptrdiff_t count) {
            T* piece = at;
            at += round_up<T>(count);
            return piece;
        };
        staged = take(stage_size<T>(R, p.n));
        columns = take(round_up<T>(R) * std::max<ptrdiff_t>(p.n, VL<T>));
        rows = take(round_up<T>(R) * (wide + WIDTH<T>));
        H = take(R * p.k);
        U = take(p.along || p.soft ? R * p.k : 0);
        G = take(p.grad ? outputs * wide : 0);
        bias = take(std::max(outputs * VL<T>, wide));  // gram: one row of column sums
        wt = take(R), top = take(R), hit = take(R), logs = take(R);
        label = (Int*)take(R);
        w = (double*)take(R * (sizeof(double) / sizeof(T)));
        size = at - start;
    }
};

template <class T>
ptrdiff_t work_size(const Pass<T>& p, ptrdiff_t outputs) {
    const ptrdiff_t parameters = round_up<T>(p.n * p.k) * 2;
    return parameters + Scratch<T>(nullptr, p, outputs).size * p.threads + VEC_BYTES / sizeof(T);
}

template <class T, int NS>
T* copy_scalars(const T* theta, ptrdiff_t n, ptrdiff_t k, T* out) {
    for (ptrdiff_t j = 0; j < n; ++j, out += NS) std::memcpy(out, theta + j * k, NS * sizeof(T));
    return out;
}

// `count` classes of theta (n, k) from `begin` on to [class tile][feature][class in tile], so that a tile's
// scalars are contiguous.
template <class T>
void pack_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, ptrdiff_t begin, ptrdiff_t count, T* out) {
    typedef T* (*Copy)(const T*, ptrdiff_t, ptrdiff_t, T*);
    static constexpr Copy copies[NS_MAX] = {copy_scalars<T, 1>, copy_scalars<T, 2>, copy_scalars<T, 3>,
                                            copy_scalars<T, 4>, copy_scalars<T, 5>, copy_scalars<T, 6>};
    const Split classes(count, NS_MAX);
    for (int c = 0; c < classes.parts; ++c) out = copies[classes.size(c) - 1](theta + begin + classes.begin(c), n, k, out);
}

// Steps of all the tiles of a block: the time there is to fetch the next one.
template <class T>
ptrdiff_t tile_steps(const Pass<T>& p, ptrdiff_t outputs) {
    const ptrdiff_t row_panels = (p.block + WIDTH<T> - 1) / WIDTH<T>, scalars = Split(outputs, NS_MAX).parts;
    const ptrdiff_t forward = p.theta ? scalars * row_panels * p.n * (p.along ? 2 : 1) : 0;
    const ptrdiff_t backward = p.grad ? scalars * PanelsOf<T>(p.n).count * p.block : 0;
    const ptrdiff_t dX = p.dX ? Split(p.n, NS_MAX).parts * row_panels * p.k : 0;
    return forward + backward / (p.theta ? 1 : 2) + dX;
}

// A gradient larger than this does not stay in L2 beside the rest of a block.
constexpr ptrdiff_t FAR_BYTES = 256 << 10;

// The block after the one at `first`, to be fetched while this one is computed.
template <class T>
Ahead next_block(const Pass<T>& p, ptrdiff_t first, ptrdiff_t end, ptrdiff_t steps) {
    const ptrdiff_t rows = std::min(p.block, end - first - p.block), size = p.X.itemsize;
    const char* next = p.X.data + (first + p.block) * p.X.row;
    if (rows > 0 && p.X.col == size) return Ahead::pieces(next, rows, p.n * size, p.X.row, steps);
    if (rows > 0 && p.X.row == size) return Ahead::pieces(next, p.n, rows * size, p.X.col, steps);
    return Ahead::nothing(p.X.data);
}

// H^T [k][R] = theta^T X^T + bias for the rows of a block.
template <class T>
void forward(const View<T>& columns, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
             Ahead& ahead) {
    const Split classes(p.k, NS_MAX);
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    for (int c = 0; c < classes.parts; ++c) {
        const int begin = classes.begin(c), ns = classes.size(c);
        for (int v = 0; v < vectors; v += NV_MAX)
            run_tile<T, false>(std::min(NV_MAX, vectors - v), ns, columns.data + v / NV_MAX * columns.panel, columns.ld,
                               parameters + begin * p.n, ns, 1, H + begin * p.block + v * VL<T>, p.block,
                               bias ? bias + begin : nullptr, p.n, ahead);
    }
}

// G[s][slot] += sum over rows of B[row, s] X[row, feature], for the scalars `begin`.. and features from `from` on.
template <class T>
void backward(const View<T>& X, int rows, const T* B, ptrdiff_t b_step, ptrdiff_t b_scalar, int begin, int ns,
              ptrdiff_t from, ptrdiff_t n, T* G, ptrdiff_t ldg, Ahead& ahead) {
    const PanelsOf<T> panels(n);
    for (int i = 0; i < panels.count; ++i) {
        const Panel panel = panels[i];
        if (panel.slot + panel.vectors * VL<T> <= from) continue;
        const T* A = X.data + (X.panel ? i * X.panel : panel.begin);
        run_tile<T, true>(panel.vectors, ns, A, X.ld, B + begin * b_scalar, b_step, b_scalar,
                          G + begin * ldg + panel.slot, ldg, nullptr, rows, ahead);
    }
}

// ------------------------------------------------------------------------- softmax on a tile

// Labels, weights and scaled weights of a block; lanes past the last row weigh nothing.
template <class T, class Buffers>
void load_rows(const Pass<T>& p, ptrdiff_t first, int rows, const Buffers& s) {
    const int lanes = round_up<T>(rows, VL<T>);
    for (int r = 0; r < rows; ++r) s.label[r] = p.y ? p.y[first + r] : 0;
    for (int r = 0; r < rows; ++r) s.w[r] = p.w ? p.w[first + r] : 1.0;
    for (int r = rows; r < lanes; ++r) s.label[r] = 0, s.w[r] = 0;
    for (int r = 0; r < lanes; ++r) s.wt[r] = T(s.w[r]);
    for (int r = 0; r < lanes; ++r) s.w[r] *= p.scale;
}

// (a - b) / 2, which does not overflow where a - b would.
template <class T>
INLINE Vec<T> half_difference(Vec<T> a, Vec<T> b) {
    return a * T(0.5) - b * T(0.5);
}

// What is left of a loss beside logs, given as half of it: `block_loss` and `write_losses` take (top - hit).
template <class T, class Buffers>
INLINE void store_half_loss(int r, Vec<T> half, const Buffers& s) {
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

// H^T becomes D^T = w (Z - I). A row's loss is (top - hit) + logs.
template <class T>
void residual_of_labels(int rows, const Pass<T>& p, Scratch<T>& s) {
    const ptrdiff_t R = p.block;
    for (int r = 0; r < rows; ++r) s.hit[r] = s.H[s.label[r] * R + r];
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + r;
        const Exps<T> e = exp_rows(H, R, p.k);
        store<T>(s.top + r, e.top);
        store<T>(s.logs + r, vlog<T>(e.sum));
        if (!p.grad) continue;
        const Vec<T> by = load(s.wt + r) / e.sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * R, load(H + c * R) * by);
    }
    if (p.grad)
        for (int r = 0; r < rows; ++r) s.H[s.label[r] * R + r] -= s.wt[r];
}

// The same for smoothed labels, t = (1 - eps) I + eps / k: D = w (Z - t), and the loss takes
// (1 - eps) (top - h_y) + eps / k sum_c (top - h_c) for top - hit.
template <class T>
void residual_of_smoothed(int rows, const Pass<T>& p, Scratch<T>& s) {
    const ptrdiff_t R = p.block;
    const T keep = T(1) - p.smoothing, share = p.smoothing / T(p.k);
    for (int r = 0; r < rows; ++r) s.hit[r] = s.H[s.label[r] * R + r];
    for (int r = 0; r < rows; r += VL<T>) {
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
void residual_of_soft(int rows, const Pass<T>& p, Scratch<T>& s) {
    const ptrdiff_t R = p.block;
    for (int r = 0; r < rows; r += VL<T>) {
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

// (1 - eps) t^T + eps / k of a block into U; lanes past the last row get no target.
template <class T>
void load_soft(const Pass<T>& p, ptrdiff_t first, int rows, Scratch<T>& s) {
    const T keep = T(1) - p.smoothing, share = p.smoothing / T(p.k);
    for (int r = 0; r < round_up<T>(rows, VL<T>); ++r) {
        const T* t = p.soft + (first + r) * p.k;
        for (ptrdiff_t c = 0; c < p.k; ++c) s.U[c * p.block + r] = r < rows ? keep * t[c] + share : T(0);
    }
}

template <class T>
void residual(ptrdiff_t first, int rows, const Pass<T>& p, Scratch<T>& s) {
    load_rows(p, first, rows, s);
    if (p.soft) {
        load_soft(p, first, rows, s);
        residual_of_soft(rows, p, s);
    } else if (p.smoothing != T(0)) {
        residual_of_smoothed(rows, p, s);
    } else {
        residual_of_labels(rows, p, s);
    }
}

// Sum of the weighted, scaled losses. Halves are subtracted, so that a row whose loss is beyond the
// largest float64 still has its share in a mean that is not.
template <class Buffers>
double block_loss(int rows, const Buffers& s) {
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
void curvature(int rows, const Pass<T>& p, Scratch<T>& s) {
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
void add_column_sums(int rows, const Pass<T>& p, Scratch<T>& s) {
    for (ptrdiff_t c = 0; c < p.k; ++c) {
        Vec<T> sum = load(s.bias + c * VL<T>);
        for (int r = 0; r < rows; r += VL<T>) sum += load(s.H + c * p.block + r);
        store<T>(s.bias + c * VL<T>, sum);
    }
}

// ----------------------------------------------------------------------------- what a row may ask for

// The first of the largest logits.
template <class T, class Buffers>
void label_rows(ptrdiff_t first, int rows, const Pass<T>& p, const Buffers& s, int64_t* out) {
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

template <class T, class Buffers>
void write_losses(ptrdiff_t first, int rows, const Pass<T>& p, const Buffers& s) {
    for (int r = 0; r < rows; ++r)
        p.row_loss[first + r] = T((double(s.top[r]) - double(s.hit[r])) + double(s.logs[r]));
}

// dX = scale D theta^T: the forward tile once more, with classes as steps and features as scalars. Classes go in
// runs whose residuals stay in L2 while the feature tiles [from, to) pass over them.
constexpr ptrdiff_t DX_CLASSES = 256;

template <class T, class Buffers>
void dX_of_features(int from, int to, int rows, const Pass<T>& p, const Buffers& s, Ahead& ahead) {
    const Split features(p.n, NS_MAX);
    const ptrdiff_t R = p.block;
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    for (ptrdiff_t c = 0; c < p.k; c += DX_CLASSES) {
        const ptrdiff_t classes = std::min(DX_CLASSES, p.k - c);
        for (int part = from; part < to; ++part)
            for (int v = 0; v < vectors; v += NV_MAX) {
                const ptrdiff_t begin = features.begin(part);
                const int nv = std::min(NV_MAX, vectors - v), ns = features.size(part);
                const T *D = s.H + c * R + v * VL<T>, *theta = p.theta + begin * p.k + c;
                T* out = s.columns + begin * R + v * VL<T>;
                if (c == 0)
                    run_tile<T, false>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, ahead);
                else
                    run_tile<T, true>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, ahead);
            }
    }
}
template <class T, class Buffers>
void store_dX(ptrdiff_t first, int rows, const Pass<T>& p, const Buffers& s) {
    for (int r = 0; r < rows; ++r)
        for (ptrdiff_t j = 0; j < p.n; ++j) p.dX[(first + r) * p.n + j] = s.columns[j * p.block + r] * T(p.scale);
}

// ----------------------------------------------------------------------------- slabs and passes

// A row of G, panel by panel, onto its features in float64.
template <class T>
void add_features(const T* row, const PanelsOf<T>& panels, double* out) {
    for (int i = 0; i < panels.count; ++i) {
        const Panel panel = panels[i];
        const ptrdiff_t end = std::min(panels.n, panel.begin + panel.vectors * VL<T>);
        const T* G = row + panel.slot - panel.begin;
        for (ptrdiff_t j = panel.slot; j < end; ++j) out[j] += double(G[j]);
    }
}

template <class T>
void clear(ptrdiff_t outputs, const Pass<T>& p, Scratch<T>& s) {
    std::fill_n(s.G, outputs * round_up<T>(p.n), T(0));
    std::fill_n(s.bias, std::max(outputs * VL<T>, round_up<T>(p.n)), T(0));
}

// The running sums of a block run, in T, into the float64 slab; then zero again.
template <class T>
void flush(ptrdiff_t outputs, const Pass<T>& p, Scratch<T>& s, double* grad, double* grad_bias) {
    const ptrdiff_t wide = round_up<T>(p.n);
    const PanelsOf<T> panels(p.n);
    for (ptrdiff_t c = 0; c < outputs; ++c) add_features(s.G + c * wide, panels, grad + c * p.n);
    if (!p.theta) add_features(s.bias, panels, grad_bias);
    for (ptrdiff_t c = 0; p.theta && c < outputs; ++c) grad_bias[c] += sum_lanes<T>(load(s.bias + c * VL<T>));
    clear(outputs, p, s);
}

template <class T>
void gradient_of_block(const Matrix<T>& block, int rows, const Pass<T>& p, Scratch<T>& s, Ahead& ahead) {
    const View<T> X = pack_rows(block, rows, p.n, p.block, s.rows);
    const Split classes(p.k, NS_MAX);
    const ptrdiff_t wide = round_up<T>(p.n);
    for (int c = 0; c < classes.parts; ++c)
        backward(X, rows, s.H, 1, p.block, classes.begin(c), classes.size(c), 0, p.n, s.G, wide, ahead);
    add_column_sums(rows, p, s);
}

// w x, in the orientation of the block.
template <class T>
void scale_rows(const Matrix<T>& X, int rows, ptrdiff_t n, const T* w, T* out) {
    if (X.by_row) {
        for (int r = 0; r < rows; ++r)
            for (ptrdiff_t j = 0; j < n; ++j) out[r * n + j] = w[r] * X.data[r * X.row + j];
    } else {
        for (ptrdiff_t j = 0; j < n; ++j)
            for (int r = 0; r < rows; ++r) out[j * rows + r] = w[r] * X.data[j * X.col + r];
    }
}

// G[i][j] += sum_r w_r x_ri x_rj for the panels j that reach the diagonal; `gram` mirrors them. The column sums
// are one more scalar, w itself.
template <class T>
void gram_of_block(const Matrix<T>& block, int rows, const Pass<T>& p, Scratch<T>& s, Ahead& ahead) {
    const ptrdiff_t wide = round_up<T>(p.n);
    const View<T> X = pack_rows(block, rows, p.n, p.block, s.rows);
    const T* scaled = block.data;
    ptrdiff_t step = block.row, scalar = block.col;
    if (p.w) {
        scale_rows(block, rows, p.n, s.wt, s.columns);
        scaled = s.columns, step = block.by_row ? p.n : 1, scalar = block.by_row ? 1 : rows;
    }
    const Split features(p.n, NS_MAX);
    for (int i = 0; i < features.parts; ++i)
        backward(X, rows, scaled, step, scalar, features.begin(i), features.size(i), features.begin(i), p.n, s.G, wide,
                 ahead);
    backward(X, rows, s.wt, 1, 0, 0, 1, 0, p.n, s.bias, wide, ahead);
}

// Calls block(first, rows, scratch) for each block of each slab, slabs in parallel; flushes each run.
template <class T, class Block>
void for_slabs(const Pass<T>& p, ptrdiff_t outputs, Block block) {
    const uintptr_t at = (uintptr_t(p.work) + VEC_BYTES - 1) / VEC_BYTES * VEC_BYTES;
    T* work = (T*)at + round_up<T>(p.n * p.k) * 2;
    const ptrdiff_t size = Scratch<T>(nullptr, p, outputs).size;
    const int slabs = int((p.m + p.slab_rows - 1) / p.slab_rows);
    const ptrdiff_t steps = tile_steps(p, outputs);
    (void)size;
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::min(p.threads, slabs))
    for (int slab = 0; slab < slabs; ++slab) {
#ifdef _OPENMP
        Scratch<T> s(work + size * omp_get_thread_num(), p, outputs);
#else
        Scratch<T> s(work, p, outputs);
#endif
        double* grad = p.grad ? (double*)p.grad + slab * outputs * p.n : nullptr;
        double* grad_bias = p.grad ? p.grad_bias + slab * outputs : nullptr;
        if (grad) clear(outputs, p, s);
        const ptrdiff_t end = std::min(p.m, (slab + 1) * p.slab_rows);
        ptrdiff_t run = 0;
        for (ptrdiff_t first = slab * p.slab_rows; first < end; first += p.block) {
            Ahead ahead = next_block(p, first, end, steps);
            ahead.far = outputs * p.n * ptrdiff_t(sizeof(T)) > FAR_BYTES;
            block(first, int(std::min(p.block, end - first)), slab, s, ahead);
            run += p.block;
            if (grad && (run >= p.run || first + p.block >= end)) {
                flush(outputs, p, s, grad, grad_bias);
                run = 0;
            }
        }
    }
}

template <class T>
T* parameter_space(const Pass<T>& p) {
    return (T*)((uintptr_t(p.work) + VEC_BYTES - 1) / VEC_BYTES * VEC_BYTES);
}

template <class T>
void value_and_grad(const Pass<T>& p) {
    T* theta = parameter_space(p);
    pack_parameters(p.theta, p.n, p.k, 0, p.k, theta);
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int slab, Scratch<T>& s, Ahead& ahead) {
        const Matrix<T> X = stage(p.X, first, rows, p.n, s.staged);
        forward(pack_columns(X, rows, p.n, s.columns), rows, theta, p.bias, p, s.H, ahead);
        if (p.row_label) label_rows(first, rows, p, s, p.row_label);
        residual(first, rows, p, s);
        p.loss[slab] += block_loss(rows, s);
        if (p.row_loss) write_losses(first, rows, p, s);
        if (p.grad) gradient_of_block(X, rows, p, s, ahead);
        if (!p.dX) return;
        dX_of_features(0, Split(p.n, NS_MAX).parts, rows, p, s, ahead);
        store_dX(first, rows, p, s);
    });
}

template <class T>
void hess_prod(const Pass<T>& p) {
    T* theta = parameter_space(p);
    T* along = theta + round_up<T>(p.n * p.k);
    pack_parameters(p.theta, p.n, p.k, 0, p.k, theta);
    pack_parameters(p.along, p.n, p.k, 0, p.k, along);
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int, Scratch<T>& s, Ahead& ahead) {
        const Matrix<T> X = stage(p.X, first, rows, p.n, s.staged);
        const View<T> columns = pack_columns(X, rows, p.n, s.columns);
        forward(columns, rows, theta, p.bias, p, s.H, ahead);
        forward(columns, rows, along, p.along_bias, p, s.U, ahead);
        load_rows(p, first, rows, s);
        curvature(rows, p, s);
        gradient_of_block(X, rows, p, s, ahead);
    });
}

template <class T>
void gram(const Pass<T>& p) {
    for_slabs(p, p.n, [&](ptrdiff_t first, int rows, int, Scratch<T>& s, Ahead& ahead) {
        load_rows(p, first, rows, s);
        gram_of_block(stage(p.X, first, rows, p.n, s.staged), rows, p, s, ahead);
    });
    for (ptrdiff_t slab = 0; slab < p.slabs; ++slab) {
        double* g = (double*)p.grad + slab * p.n * p.n;
        for (ptrdiff_t i = 0; i < p.n; ++i)
            for (ptrdiff_t j = i + 1; j < p.n; ++j) g[j * p.n + i] = g[i * p.n + j];
    }
}

// ------------------------------------------------------------------------------------ predict

enum Kind { LABEL, LOGITS, PROBA, LOG_PROBA };

// NaN where a logit is not finite: 0 * inf and 0 * NaN are NaN.
template <class T>
double finite_or_nan(int rows, const Pass<T>& p, const Scratch<T>& s) {
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
void softmax_rows(int rows, Kind kind, const Pass<T>& p, Scratch<T>& s) {
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

// out is int64 (m,) for LABEL, else T (m, k) in C order.
template <class T>
void predict(const Pass<T>& p, Kind kind, void* out) {
    T* theta = parameter_space(p);
    pack_parameters(p.theta, p.n, p.k, 0, p.k, theta);
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int slab, Scratch<T>& s, Ahead& ahead) {
        const Matrix<T> X = stage(p.X, first, rows, p.n, s.staged);
        forward(pack_columns(X, rows, p.n, s.columns), rows, theta, p.bias, p, s.H, ahead);
        p.loss[slab] += finite_or_nan(rows, p, s);
        if (kind == LABEL) return label_rows(first, rows, p, s, (int64_t*)out);
        if (kind != LOGITS) softmax_rows(rows, kind, p, s);
        T* Z = (T*)out + first * p.k;
        for (int r = 0; r < rows; ++r)
            for (ptrdiff_t c = 0; c < p.k; ++c) Z[r * p.k + c] = s.H[c * p.block + r];
    });
}

}  // namespace
