// The class-parallel passes: many classes, one gradient, all threads on the same block of rows.
//
// With n k in the millions, a gradient for each slab would not fit in memory. So all threads share one H^T [class][row]
// and one G. Classes are cut into groups of fixed size. A group belongs to one thread at a time, which alone writes the
// group's logits and its rows of G. Threads meet where a row needs all of its classes: for the maximum, and for the sum
// of the exponentials. Groups are added up in the order of their numbers, so the result depends neither on the number
// of threads nor on which thread took which group.
//
//     forward, max of group | max of row | exps, sum of group | sum of row | residual, backward | dX by features
//     ----- groups -------- | -- rows -- | ----- groups ----- | -- rows -- | ----- groups ----- | -- features --
#pragma once

#include <type_traits>

#include "passes/dense.hpp"

namespace fastsoftmax {
namespace {

// Classes of a group. Their share of theta, 196 kB at n = 512 in float32, stays in L2.
constexpr int GROUP = 16 * TILE_SCALARS;

// Buffers that all threads share, cut from Pass::work. Those of the threads come after them.
template <class T>
struct Shared : BlockBuffers<T> {
    using Base = BlockBuffers<T>;
    using Base::H, Base::U, Base::columns, Base::wt, Base::top, Base::hit, Base::logs, Base::w, Base::label;
    T *staged, *rows;  // a converted block of X; X with features in the lanes
    T *group_top, *group_sum, *group_more;  // of each group and row, what the next three lines are of each row
    T* sum;  // of the exponentials
    T* more;  // what else is summed over the classes; see `group_exponentials`
    T* mass;  // of the soft targets
    ptrdiff_t size;
    Shared(T* at, const Pass<T>& p) {
        T* start = at;
        auto take = [&](ptrdiff_t count) {
            T* piece = at;
            at += round_up<T>(count);
            return piece;
        };
        const ptrdiff_t R = p.block, groups = (p.k + GROUP - 1) / GROUP;
        H = take(R * p.k);
        U = take(p.direction ? R * p.k : 0);
        staged = take(stage_size<T>(R, p.n));
        columns = take(round_up<T>(R) * std::max<ptrdiff_t>(p.n, VL<T>));
        rows = take(round_up<T>(R) * (round_up<T>(p.n) + TILE_LANES<T>));
        group_top = take(groups * R), group_sum = take(groups * R), group_more = take(groups * R);
        top = take(R), sum = take(R), more = take(R), mass = take(R), hit = take(R), logs = take(R), wt = take(R);
        w = (double*)take(R * (sizeof(double) / sizeof(T)));
        label = (typename Lanes<T>::Int*)take(R);
        size = at - start;
    }
};

// A thread's own buffers: a group's share of theta, its soft targets, a tile of products.
template <class T>
struct Own {
    T *parameters, *soft, *tile;
    Own(T* at, const Pass<T>& p) : parameters(at) {
        soft = parameters + round_up<T>(GROUP * p.n);
        tile = soft + (p.soft ? round_up<T>(GROUP * p.block) : 0);
    }
    static ptrdiff_t size(const Pass<T>& p) {
        return Own(nullptr, p).tile - (T*)nullptr + TILE_SCALARS * TILE_LANES<T>;
    }
};

// Numbers of scratch memory that a class-parallel pass needs.
template <class T>
ptrdiff_t class_work_size(const Pass<T>& p) {
    return Shared<T>(nullptr, p).size + Own<T>::size(p) * p.threads + VEC_BYTES / sizeof(T);
}

struct Group {
    int index, begin, size;
};

// H^T of a group's classes. Only the group's share of theta is packed, so there is never a copy of all of theta.
template <class T>
void group_forward(Group g, const View<T>& columns, int rows, const T* theta, const T* bias, const Pass<T>& p, T* H,
                   T* parameters, Prefetcher& prefetch) {
    Pass<T> group_pass = p;
    group_pass.k = g.size;
    pack_parameters(theta, p.n, p.k, g.begin, g.size, parameters);
    forward(columns, rows, parameters, bias ? bias + g.begin : nullptr, group_pass, H + g.begin * p.block, prefetch, 0,
            p.n);
}

// The largest logit of a group, for each row.
template <class T>
void group_maximum(Group g, int rows, const Pass<T>& p, const Shared<T>& s) {
    for (int r = 0; r < rows; r += VL<T>) {
        const T* H = s.H + g.begin * p.block + r;
        Vec<T> top = load(H);
        for (int c = 1; c < g.size; ++c) top = maximum<T>(top, load(H + c * p.block));
        store<T>(s.group_top + g.index * p.block + r, top);
    }
}

// H becomes exp(H - top), and `group_sum` the sum of that. `group_more` is what else a row needs to be summed over its
// classes. Soft targets: sum t (top - h) / 2; smoothed labels: eps / k sum (top - h) / 2;
// Hessian product: sum exp(h - top) u.
template <class T>
void group_exponentials(Group g, int rows, const Pass<T>& p, const Shared<T>& s, const T* soft) {
    const ptrdiff_t R = p.block;
    const T share = p.smoothing / T(p.k);
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + g.begin * R + r;
        const Vec<T> top = load(s.top + r);
        Vec<T> sum{}, more{};
        for (int c = 0; c < g.size; ++c) {
            const Vec<T> h = load(H + c * R), e = vexp<T>(h - top);
            sum += e;
            if (p.direction)
                more += e * load(s.U + (g.begin + c) * R + r);
            else if (soft)
                more += load(soft + c * R + r) * half_difference<T>(top, h);
            else if (share != T(0))
                more += share * half_difference<T>(top, h);
            store<T>(H + c * R, e);
        }
        store<T>(s.group_sum + g.index * R + r, sum);
        store<T>(s.group_more + g.index * R + r, more);
    }
}

// The sum over the groups, for a vector of rows.
template <class T>
INLINE Vec<T> sum_of_groups(const T* parts, int r, const Pass<T>& p) {
    const int groups = (p.k + GROUP - 1) / GROUP;
    Vec<T> sum = load(parts + r);
    for (int g = 1; g < groups; ++g) sum += load(parts + g * p.block + r);
    return sum;
}

// The largest logit of all groups, for a vector of rows.
template <class T>
void top_of_groups(int r, const Pass<T>& p, const Shared<T>& s) {
    const int groups = (p.k + GROUP - 1) / GROUP;
    Vec<T> top = load(s.group_top + r);
    for (int g = 1; g < groups; ++g) top = maximum<T>(top, load(s.group_top + g * p.block + r));
    store<T>(s.top + r, top);
}

// The sum of a row's soft targets.
template <class T>
T soft_mass(ptrdiff_t row, const Pass<T>& p) {
    T sum = 0;
    for (ptrdiff_t c = 0; c < p.k; ++c) sum += p.soft[row * p.k + c];
    return (T(1) - p.smoothing) * sum + p.smoothing;
}

// The sums of a vector of rows over all groups, and what their losses need of them.
template <class T>
void row_sums(int r, const Pass<T>& p, const Shared<T>& s) {
    const Vec<T> sum = sum_of_groups(s.group_sum, r, p), more = sum_of_groups(s.group_more, r, p);
    store<T>(s.sum + r, sum);
    store<T>(s.more + r, more);
    store<T>(s.logs + r, p.soft ? load(s.mass + r) * vlog<T>(sum) : vlog<T>(sum));
    if (p.direction) return;
    if (p.soft)
        store_half_loss<T>(r, more, s);
    else if (p.smoothing != T(0))
        store_half_loss<T>(r, half_difference<T>(load(s.top + r), load(s.hit + r)) * (T(1) - p.smoothing) + more, s);
}

// H of a group, the exponentials, becomes D.
template <class T>
void group_residual(Group g, int rows, const Pass<T>& p, const Shared<T>& s, const T* soft) {
    const ptrdiff_t R = p.block;
    const T share = soft ? T(0) : p.smoothing / T(p.k);
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + g.begin * R + r;
        const Vec<T> wt = load(s.wt + r), sum = load(s.sum + r);
        const Vec<T> by = (soft ? wt * load(s.mass + r) : wt) / sum, mean = load(s.more + r) / sum;
        for (int c = 0; c < g.size; ++c) {
            const Vec<T> z = load(H + c * R) * by;
            store<T>(H + c * R, p.direction ? z * (load(s.U + (g.begin + c) * R + r) - mean)
                                : soft      ? z - wt * load(soft + c * R + r)
                                            : z - wt * share);
        }
    }
    if (!soft && !p.direction)
        for (int r = 0; r < rows; ++r)
            if (s.label[r] >= g.begin && s.label[r] < g.begin + g.size)
                s.H[s.label[r] * R + r] -= s.wt[r] * (T(1) - p.smoothing);
}

// G += D^T X and bias_grad += the column sums of D for a group's classes. Tiles go straight into the one gradient, of
// dtype A, or by way of `out`.
template <class T, class A>
void group_backward(Group g, const View<T>& X, int rows, const Pass<T>& p, const Shared<T>& s, A* grad,
                    double* bias_grad, T* out, Prefetcher& prefetch) {
    const Split classes(g.size, TILE_SCALARS);
    const PanelsOf<T> panels(p.n);
    for (int c = 0; c < classes.parts; ++c) {
        const ptrdiff_t begin = g.begin + classes.begin(c);
        const int ns = classes.size(c);
        for (int i = 0; i < panels.count; ++i) {
            const Panel panel = panels[i];
            const T *lanes = X.data + (X.panel ? i * X.panel : panel.begin), *D = s.H + begin * p.block;
            const ptrdiff_t end = std::min(p.n, panel.begin + panel.vectors * VL<T>);
            if constexpr (std::is_same<T, A>::value)
                if (panel.begin == panel.slot && end - panel.begin == panel.vectors * VL<T>) {  // no lane overlaps
                    run_tile<T, true>(panel.vectors, ns, lanes, X.ld, D, 1, p.block, grad + begin * p.n + panel.slot,
                                      p.n, nullptr, rows, prefetch);
                    continue;
                }
            run_tile<T, false>(panel.vectors, ns, lanes, X.ld, D, 1, p.block, out, TILE_LANES<T>, nullptr, rows,
                               prefetch);
            for (int q = 0; q < ns; ++q) {
                A* G = grad + (begin + q) * p.n;
                const T* o = out + q * TILE_LANES<T> - panel.begin;
                for (ptrdiff_t j = panel.slot; j < end; ++j) G[j] += A(o[j]);
            }
        }
    }
    for (int c = g.begin; c < g.begin + g.size; ++c) {
        Vec<T> sum{};
        for (int r = 0; r < rows; r += VL<T>) sum += load(s.H + c * p.block + r);
        bias_grad[c] += sum_lanes<T>(sum);
    }
}

// The pass for the loss and for the Hessian product; A is the dtype of the gradient.
template <class T, class A>
void class_parallel(const Pass<T>& p) {
    const Shared<T> s(parameter_space(p), p);
    T* owned = parameter_space(p) + s.size;
    const int groups = int((p.k + GROUP - 1) / GROUP), features = Split(p.n, TILE_SCALARS).parts;
    auto group = [&](int i) { return Group{i, i * GROUP, int(std::min<ptrdiff_t>(GROUP, p.k - i * GROUP))}; };
    // Feature tiles of dX that a thread takes at a time: many, since each time it reads all residuals.
    const int tiles_at_once = std::max(1, (features + 2 * p.threads - 1) / (2 * p.threads));
    Matrix<T> X{};
    View<T> columns{}, lanes{};
#pragma omp parallel num_threads(std::min(p.threads, groups))
    {
#ifdef _OPENMP
        const Own<T> own(owned + Own<T>::size(p) * omp_get_thread_num(), p);
#else
        const Own<T> own(owned, p);
#endif
        Prefetcher prefetch = Prefetcher::idle(p.X.data);
        prefetch.far = true;
        for (ptrdiff_t first = 0; first < p.m; first += p.block) {
            const int rows = int(std::min(p.block, p.m - first));
#pragma omp single
            {
                X = stage(p.X, first, rows, p.m, p.n, s.staged);
                columns = pack_columns(X, rows, p.n, s.columns);
                load_rows(p, first, rows, s);
                for (int r = 0; p.soft && r < p.block; ++r) s.mass[r] = r < rows ? soft_mass(first + r, p) : T(0);
            }
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < groups; ++i) {
                group_forward(group(i), columns, rows, p.theta, p.bias, p, s.H, own.parameters, prefetch);
                if (p.direction)
                    group_forward(group(i), columns, rows, p.direction, p.direction_bias, p, s.U, own.parameters,
                                  prefetch);
                group_maximum(group(i), rows, p, s);
            }
#pragma omp for schedule(static)
            for (int r = 0; r < rows; r += VL<T>) top_of_groups(r, p, s);
#pragma omp single
            {
                if (p.row_label) label_rows(first, rows, p, s, p.row_label);
                for (int r = 0; !p.soft && r < rows; ++r) s.hit[r] = s.H[s.label[r] * p.block + r];
                lanes = pack_rows(X, rows, p.n, p.block, s.rows);
            }
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < groups; ++i) {
                if (p.soft) load_targets(p, first, rows, group(i).begin, group(i).size, own.soft);
                group_exponentials(group(i), rows, p, s, p.soft ? own.soft : nullptr);
            }
#pragma omp single
            {
                for (int r = 0; r < rows; r += VL<T>) row_sums(r, p, s);
                if (!p.direction) *p.loss += block_loss(rows, s);
                if (p.row_loss) write_losses(first, rows, p, s);
            }
            if (!p.grad) continue;
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < groups; ++i) {
                if (p.soft) load_targets(p, first, rows, group(i).begin, group(i).size, own.soft);
                group_residual(group(i), rows, p, s, p.soft ? own.soft : nullptr);
                group_backward(group(i), lanes, rows, p, s, (A*)p.grad, p.bias_grad, own.tile, prefetch);
            }
            if (!p.dX) continue;
#pragma omp for schedule(dynamic, 1)
            for (int f = 0; f < features; f += tiles_at_once)
                input_gradient(f, std::min(f + tiles_at_once, features), rows, p, s, prefetch);
#pragma omp single
            store_dX(first, rows, p, s);
        }
    }
}

}  // namespace
}  // namespace fastsoftmax
