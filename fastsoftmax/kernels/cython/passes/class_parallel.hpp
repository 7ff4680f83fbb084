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
    T *staged, *rows;  // a converted block of X; X with features in the lanes
    T *group_top, *group_sum, *group_more, *group_mass;  // of each group and row: largest logit, `ClassSums`
    T *sum, *more, *mass;                                // of each row, over all groups
    Shared(Cutter<T>& cut, const Pass<T>& p) : BlockBuffers<T>(cut, p.block * p.k, p.direction ? p.block * p.k : 0, p) {
        const ptrdiff_t R = p.block, groups = (p.k + GROUP - 1) / GROUP;
        staged = cut.take(stage_size<T>(R, p.n));
        this->columns = cut.take(round_up<T>(R) * std::max<ptrdiff_t>(p.n, VL<T>));
        rows = cut.take(round_up<T>(R) * (round_up<T>(p.n) + TILE_LANES<T>));
        group_top = cut.take(groups * R), group_sum = cut.take(groups * R), group_more = cut.take(groups * R);
        group_mass = cut.take(groups * R);
        sum = cut.take(R), more = cut.take(R), mass = cut.take(R);
    }
};

// A thread's own buffers: a group's share of theta, its soft targets, a tile of products.
template <class T>
struct Own {
    T *parameters, *soft, *tile;
    Own(Cutter<T>& cut, const Pass<T>& p) {
        parameters = cut.take(GROUP * p.n);
        soft = cut.take(p.soft ? GROUP * p.block : 0);
        tile = cut.take(TILE_SCALARS * TILE_LANES<T>);
    }
    static ptrdiff_t size(const Pass<T>& p) {
        Cutter<T> cut(nullptr);
        Own(cut, p);
        return cut.size();
    }
};

// Numbers of scratch memory that a class-parallel pass needs.
template <class T>
ptrdiff_t class_work_size(const Pass<T>& p) {
    Cutter<T> cut(nullptr);
    Shared<T>(cut, p);
    return cut.size() + Own<T>::size(p) * p.threads + VEC_BYTES / sizeof(T);
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
    for (int r = 0; r < rows; r += VL<T>)
        store<T>(s.group_top + g.index * p.block + r, largest(s.H + g.begin * p.block + r, p.block, g.size));
}

// What `exponentials` and `residuals` take beside the logits of a group.
template <class T>
const T* others_of(Group g, const Pass<T>& p, const Shared<T>& s, const Own<T>& own) {
    return p.direction ? s.U + g.begin * p.block : own.soft;
}

// H becomes exp(H - top), and the sums over the classes of the group are stored.
template <class T, Target TARGET>
void group_exponentials(Group g, int rows, const Pass<T>& p, const Shared<T>& s, const Own<T>& own) {
    const ptrdiff_t R = p.block, at = g.index * R;
    const T* other = others_of(g, p, s, own);
    for (int r = 0; r < rows; r += VL<T>) {
        const ClassSums<T> sums = exponentials<T, TARGET>(s.H + g.begin * R + r, other + r, R, g.size, load(s.top + r),
                                                          share_of(p));
        store<T>(s.group_sum + at + r, sums.sum);
        store<T>(s.group_more + at + r, sums.more);
        store<T>(s.group_mass + at + r, sums.mass);
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
    store<T>(s.top + r, largest(s.group_top + r, p.block, (p.k + GROUP - 1) / GROUP));
}

// The sums of the rows over all groups, and their losses.
template <class T, Target TARGET>
void row_sums(int rows, const Pass<T>& p, const Shared<T>& s) {
    for (int r = 0; r < rows; r += VL<T>) {
        const ClassSums<T> sums{sum_of_groups(s.group_sum, r, p), sum_of_groups(s.group_more, r, p),
                                sum_of_groups(s.group_mass, r, p)};
        store<T>(s.sum + r, sums.sum);
        store<T>(s.more + r, sums.more);
        store<T>(s.mass + r, sums.mass);
        store_loss<T, TARGET>(r, load(s.top + r), sums, p, s);
    }
}

// H of a group, the exponentials, becomes D.
template <class T, Target TARGET>
void group_residual(Group g, int rows, const Pass<T>& p, const Shared<T>& s, const Own<T>& own) {
    const ptrdiff_t R = p.block;
    const T* other = others_of(g, p, s, own);
    for (int r = 0; r < rows; r += VL<T>) {
        const ClassSums<T> sums{load(s.sum + r), load(s.more + r), load(s.mass + r)};
        residuals<T, TARGET>(s.H + g.begin * R + r, other + r, R, g.size, load(s.wt + r), sums, share_of(p));
    }
    if (TARGET == LABELS || TARGET == SMOOTHED) subtract_labels(g.begin, g.size, rows, p, s);
}

// G += D^T X and bias_grad += the column sums of D for a group's classes. Tiles go straight into the one gradient, of
// dtype A, or by way of `out`.
template <class T, class A>
void group_backward(Group g, const View<T>& X, int rows, const Pass<T>& p, const Shared<T>& s, A* grad,
                    double* bias_grad, T* out, Prefetcher& prefetch) {
    const Split classes(g.size, TILE_SCALARS);
    const Panels<VL<T>> panels(p.n);
    for (int c = 0; c < classes.parts; ++c) {
        const ptrdiff_t begin = g.begin + classes.begin(c);
        const int ns = classes.size(c);
        const Scalars<T> D{s.H + begin * p.block, 1, p.block};
        for (int i = 0; i < panels.count(); ++i) {
            const Panel panel = panels[i];
            const ptrdiff_t shift = panel.begin - panel.first();
            const T* lanes = X.data + (X.panel ? i * X.panel + shift : panel.begin);
            if constexpr (std::is_same<T, A>::value)
                if (p.n >= VL<T>) {
                    run_tile<Wide<T>>(ns, lanes, X.ld, panel, D, {grad + begin * p.n + panel.begin, p.n}, rows,
                                      prefetch);
                    continue;
                }
            run_tile<Wide<T>>(ns, lanes, X.ld, panel, D, {out + shift, TILE_LANES<T>, false}, rows, prefetch);
            for (int q = 0; q < ns; ++q) {
                A* G = grad + (begin + q) * p.n;
                const T* sums = out + q * TILE_LANES<T> - panel.first();
                for (ptrdiff_t j = panel.begin; j < panels.end(i); ++j) G[j] += A(sums[j]);
            }
        }
    }
    add_column_sums(g.begin, g.begin + g.size, rows, p, s, bias_grad);
}

// The pass for the loss and for the Hessian product; A is the dtype of the gradient.
template <class T, class A>
void class_parallel(const Pass<T>& p) {
    Cutter<T> space(parameter_space(p));
    const Shared<T> s(space, p);
    const int groups = int((p.k + GROUP - 1) / GROUP), features = Split(p.n, TILE_SCALARS).parts;
    auto group = [&](int i) { return Group{i, i * GROUP, int(std::min<ptrdiff_t>(GROUP, p.k - i * GROUP))}; };
    // Feature tiles of dX that a thread takes at a time: many, since each time it reads all residuals.
    const int tiles_at_once = std::max(1, (features + 2 * p.threads - 1) / (2 * p.threads));
    Matrix<T> X{};
    View<T> columns{}, lanes{};
#pragma omp parallel num_threads(std::min(p.threads, groups))
    {
        Cutter<T> owned(space.at + Own<T>::size(p) * thread_number());
        const Own<T> own(owned, p);
        Prefetcher prefetch = Prefetcher::idle(p.X.data);
        prefetch.far = true;
        for (ptrdiff_t first = 0; first < p.m; first += p.block) {
            const int rows = int(std::min(p.block, p.m - first));
#pragma omp single
            {
                X = stage(p.X, first, rows, p.m, p.n, s.staged);
                columns = pack_columns(X, rows, p.n, s.columns);
                load_rows(p, first, rows, s);
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
                look_up_labels(rows, p, s);
                lanes = pack_rows(X, rows, p.n, p.block, s.rows);
            }
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < groups; ++i) {
                if (p.soft) load_targets(p, first, rows, group(i).begin, group(i).size, own.soft);
                with_target(p, [&](auto target) { group_exponentials<T, target>(group(i), rows, p, s, own); });
            }
#pragma omp single
            {
                with_target(p, [&](auto target) { row_sums<T, target>(rows, p, s); });
                if (!p.direction) *p.loss += block_loss(rows, s);
                if (p.row_loss) write_losses(first, rows, p, s);
            }
            if (!p.grad) continue;
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < groups; ++i) {
                if (p.soft) load_targets(p, first, rows, group(i).begin, group(i).size, own.soft);
                with_target(p, [&](auto target) { group_residual<T, target>(group(i), rows, p, s, own); });
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
