// The class-parallel passes: many classes, one gradient, all threads on the same block of rows.
//
// With n k in the millions, a gradient for each slab would not fit in memory. So all threads share one H^T [class][row]
// and one G. Classes are cut into groups of fixed size. A group belongs to one thread at a time, which alone writes the
// group's logits and its rows of G. Threads meet where a row needs all of its classes: for the maximum, and for the sum
// of the exponentials. Groups are added up in the order of their numbers, so the result depends neither on the number
// of threads nor on which thread took which group.
//
//     forward, max of group | max of row | exps, sum of group | sum of row | residual, backward, dX of part | dX of row
//     ----- groups -------- | -- rows -- | ----- groups ----- | -- rows -- | groups, or parts where dX is wanted | rows
//
// dX = scale D theta^T needs all classes of a row. Groups are joined to a fixed number of parts. Each part has a sum of
// its own, [row][feature], that a thread adds to while residuals and parameters of a group are in its cache.
#pragma once

#include <type_traits>

#include "passes/dense.hpp"

namespace fastsoftmax {
namespace {

// Classes of a group. Their share of theta, 196 kB at n = 512 in float32, stays in L2.
constexpr int GROUP = 16 * TILE_SCALARS;

// Sums of dX of all parts together, and how many parts there are at least and at most.
constexpr ptrdiff_t DX_BYTES = 32 << 20;
constexpr int DX_PARTS_MIN = 4, DX_PARTS_MAX = 16;

// Parts of the groups for the backward step: the groups themselves, or fewer where each has a sum of dX.
template <class T>
Split parts_of(const Pass<T>& p) {
    const int groups = int((p.k + GROUP - 1) / GROUP);
    if (!p.dX) return Split(groups, 1);
    const ptrdiff_t fit = DX_BYTES / (p.block * round_up<T>(p.n) * ptrdiff_t(sizeof(T)));
    const int parts = int(std::min<ptrdiff_t>(DX_PARTS_MAX, std::max<ptrdiff_t>(DX_PARTS_MIN, fit)));
    return Split(groups, (groups + parts - 1) / parts);
}

// Buffers that all threads share, cut from Pass::work. Those of the threads come after them.
template <class T>
struct Shared : BlockBuffers<T> {
    T *staged, *rows;  // a converted block of X; X with features in the lanes
    T *group_top, *group_sum, *group_more, *group_mass;  // of each group and row: largest logit, `ClassSums`
    T *sum, *more, *mass;                                // of each row, over all groups
    T* dX;                                               // of each part, [row][feature], rows of whole vectors
    Shared(Cutter<T>& cut, const Pass<T>& p) : BlockBuffers<T>(cut, p.block * p.k, p.direction ? p.block * p.k : 0, p) {
        const ptrdiff_t R = p.block, groups = (p.k + GROUP - 1) / GROUP;
        staged = cut.take(stage_size<T>(R, p.n));
        this->columns = cut.take(round_up<T>(R) * std::max<ptrdiff_t>(p.n, VL<T>));
        rows = cut.take(round_up<T>(R) * (round_up<T>(p.n) + TILE_LANES<T>));
        group_top = cut.take(groups * R), group_sum = cut.take(groups * R), group_more = cut.take(groups * R);
        group_mass = cut.take(groups * R);
        sum = cut.take(R), more = cut.take(R), mass = cut.take(R);
        dX = cut.take(p.dX ? parts_of(p).parts * dX_size(p) : 0);
    }
    static ptrdiff_t dX_size(const Pass<T>& p) { return p.block * round_up<T>(p.n, VL<T>); }
};

// A thread's own buffers: a group's share of theta or a panel of it, its soft targets, its residuals as scalars of dX,
// a tile of products.
template <class T>
struct Own {
    T *parameters, *soft, *residuals, *tile;
    Own(Cutter<T>& cut, const Pass<T>& p) {
        parameters = cut.take(GROUP * std::max<ptrdiff_t>(p.n, p.dX ? TILE_LANES<T> : 0));
        soft = cut.take(p.soft ? GROUP * p.block : 0);
        residuals = cut.take(p.dX ? GROUP * p.block : 0);
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

// H^T of a group's classes. Only the group's share of theta is packed, so there is never a copy of all of theta; none
// where it is by class. A copy of 128,000 x 512 in float32 takes 780 ms.
template <class T>
void group_forward(Group g, const View<T>& columns, int rows, const T* theta, const T* bias, const Pass<T>& p, T* H,
                   T* parameters, Prefetcher& prefetch) {
    Pass<T> group_pass = p;
    group_pass.k = g.size;
    if (!p.by_class) pack_parameters(theta, p.n, p.k, g.begin, g.size, parameters);
    forward(columns, rows, p.by_class ? theta + g.begin * p.n : parameters, bias ? bias + g.begin : nullptr, group_pass,
            H + g.begin * p.block, prefetch, 0, p.n);
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

// A panel of theta for a group: [class][feature in panel].
template <class T>
void pack_theta(Group g, const Panel& panel, const Pass<T>& p, T* buffer) {
    const ptrdiff_t class_step = p.by_class ? p.n : 1, feature_step = p.by_class ? 1 : p.k;
    const T* theta = p.theta + g.begin * class_step;
    if (p.by_class || g.size >= VL<T>)
        return pack_panel<T>({theta, class_step, feature_step, p.by_class, true}, panel, g.size, p.n, buffer);
    const ptrdiff_t first = panel.first(), end = std::min(p.n, panel.begin + panel.vectors * VL<T>);
    for (ptrdiff_t c = 0; c < g.size; ++c)
        for (ptrdiff_t j = first; j < end; ++j) buffer[c * TILE_LANES<T> + j - first] = theta[c + j * p.k];
}

// A part's sum of dX: that of its first group or, with `add`, more of it. Features are in the lanes, classes are steps,
// and rows scalars. Both are packed: in place, those of the next class are so far away that L1 cannot hold them.
template <class T>
void group_input_gradient(Group g, bool add, int rows, const Pass<T>& p, const Shared<T>& s, const Own<T>& own, T* dX,
                          Prefetcher& prefetch) {
    pack_parameters(s.H + g.begin * p.block, g.size, p.block, 0, rows, own.residuals);
    const Panels<VL<T>> panels(p.n);
    const Split tiles(rows, TILE_SCALARS);
    const ptrdiff_t ld = round_up<T>(p.n, VL<T>);
    for (int i = 0; i < panels.count(); ++i) {
        const Panel panel = panels[i];
        const T* lanes = own.parameters + (panel.begin - panel.first());
        pack_theta(g, panel, p, own.parameters);
        for (int part = 0; part < tiles.parts; ++part) {
            const int begin = tiles.begin(part), ns = tiles.size(part);
            run_tile<Wide<T>>(ns, lanes, TILE_LANES<T>, panel, {own.residuals + begin * g.size, ns, 1},
                              {dX + begin * ld + panel.begin, ld, add}, g.size, prefetch);
        }
    }
}

// A row of dX: the sums of the parts, in the order of their numbers.
template <class T>
void sum_of_parts(ptrdiff_t first, int r, int parts, const Pass<T>& p, const Shared<T>& s) {
    T *row = s.dX + r * round_up<T>(p.n, VL<T>), *dX = p.dX + (first + r) * p.n;
    for (int part = 1; part < parts; ++part) {
        const T* more = row + part * s.dX_size(p);
        for (ptrdiff_t j = 0; j < p.n; ++j) row[j] += more[j];
    }
    for (ptrdiff_t j = 0; j < p.n; ++j) dX[j] = row[j] * T(p.scale);
}

// The pass for the loss and for the Hessian product; A is the dtype of the gradient.
template <class T, class A>
void class_parallel(const Pass<T>& p) {
    Cutter<T> space(parameter_space(p));
    const Shared<T> s(space, p);
    const int groups = int((p.k + GROUP - 1) / GROUP);
    const Split parts = parts_of(p);
    auto group = [&](int i) { return Group{i, i * GROUP, int(std::min<ptrdiff_t>(GROUP, p.k - i * GROUP))}; };
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
            for (int part = 0; part < parts.parts; ++part)
                for (int i = parts.begin(part); i < parts.begin(part) + parts.size(part); ++i) {
                    if (p.soft) load_targets(p, first, rows, group(i).begin, group(i).size, own.soft);
                    with_target(p, [&](auto target) { group_residual<T, target>(group(i), rows, p, s, own); });
                    group_backward(group(i), lanes, rows, p, s, (A*)p.grad, p.bias_grad, own.tile, prefetch);
                    if (p.dX)
                        group_input_gradient(group(i), i > parts.begin(part), rows, p, s, own,
                                             s.dX + part * s.dX_size(p), prefetch);
                }
            if (!p.dX) continue;
#pragma omp for schedule(static)
            for (int r = 0; r < rows; ++r) sum_of_parts(first, r, parts.parts, p, s);
        }
    }
}

}  // namespace
}  // namespace fastsoftmax
