// Several models in one pass: their parameters lie side by side, theta (n, L k), and so do the logits of a block.
//
//     H^T [model][class][row]    one forward product, L softmaxes, one backward product
//
// X is read and packed once for all of them. Models may have labels and weights of their own. In cross-validation a
// model leaves rows out by their fold: that takes one number for each row and one for each model, where weights would
// take L numbers for each row.
#pragma once

#include "block/softmax.hpp"

namespace fastsoftmax {
namespace {

// The weights of the rows that a model keeps or, with `held`, of those that it leaves out; 0 for the others.
template <class T>
void weigh_fold(ptrdiff_t first, int rows, int left_out, bool held, const Pass<T>& p, const Scratch<T>& s,
                Scratch<T>& one) {
    one.wt = s.fold_wt, one.w = s.fold_w;
    const int32_t* fold = p.fold + first;
    for (int r = 0; r < rows; ++r) one.wt[r] = (fold[r] == left_out) == held ? s.wt[r] : T(0);
    for (int r = 0; r < rows; ++r) one.w[r] = (fold[r] == left_out) == held ? s.w[r] : 0.0;
    for (int r = rows; r < round_up<T>(rows, VL<T>); ++r) one.wt[r] = T(0), one.w[r] = 0.0;
}

// Of the rows that a model leaves out: adds their loss, and the weight of those classified rightly, both scaled.
template <class T>
void add_held(int rows, const int64_t* best, const Scratch<T>& one, double* held) {
    held[0] += block_loss(rows, one);
    for (int r = 0; r < rows; ++r) held[1] += best[r] == one.label[r] ? one.w[r] : 0.0;
}

// H becomes D, model by model; losses are added up by model.
template <class T>
void residuals_of_models(ptrdiff_t first, int rows, int slab, const Pass<T>& p, Scratch<T>& s, Prefetcher& prefetch) {
    const bool own_rows = p.y_step || p.w_step;
    load_rows(p, first, rows, s);
    Pass<T> model = p;
    model.k = p.k / p.models;
    for (int l = 0; l < p.models; ++l) {
        if (own_rows && l) {
            model.y = p.y + l * p.y_step;
            if (p.w) model.w = p.w + l * p.w_step;
            load_rows(model, first, rows, s);
        }
        Scratch<T> one = s;
        one.H = s.H + l * model.k * p.block;
        const bool leaves_out = p.fold && p.left_out[l] >= 0;
        if (leaves_out && p.held) label_rows(0, rows, model, one, s.best);
        if (leaves_out) weigh_fold(first, rows, p.left_out[l], false, p, s, one);
        residual_of_labels(rows, model, one, prefetch);
        const ptrdiff_t at = slab * p.models + l;
        p.loss[at] += block_loss(rows, one);
        if (!leaves_out || !p.held) continue;
        weigh_fold(first, rows, p.left_out[l], true, p, s, one);
        add_held(rows, s.best, one, p.held + 2 * at);
    }
}

}  // namespace
}  // namespace fastsoftmax
