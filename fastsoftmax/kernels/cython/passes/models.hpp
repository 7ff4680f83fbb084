// Several models in one pass: their parameters lie side by side, theta (n, L k), and so do their logits.
//
//     H^T [model][class][row]    one forward product, L softmaxes, one backward product
//
// X is read, packed and transposed once for all. Cross-validation leaves rows out of a model by their fold, which takes
// one number a row and one a model in place of L weights a row.
#pragma once

#include "block/softmax.hpp"

namespace fastsoftmax {
namespace {

// The weights that a model's rows have, or (held) those of the rows it leaves out.
template <class T>
void weigh_fold(ptrdiff_t first, int rows, int left_out, bool held, const Pass<T>& p, const Scratch<T>& s,
                Scratch<T>& one) {
    one.wt = s.fold_wt, one.w = s.fold_w;
    const int32_t* fold = p.fold + first;
    for (int r = 0; r < rows; ++r) one.wt[r] = (fold[r] == left_out) == held ? s.wt[r] : T(0);
    for (int r = 0; r < rows; ++r) one.w[r] = (fold[r] == left_out) == held ? s.w[r] : 0.0;
    for (int r = rows; r < round_up<T>(rows, VL<T>); ++r) one.wt[r] = T(0), one.w[r] = 0.0;
}

// Loss and weight of right labels of the rows a model leaves out, both scaled.
template <class T>
void add_held(int rows, const int64_t* guess, const Scratch<T>& one, double* held) {
    held[0] += block_loss(rows, one);
    for (int r = 0; r < rows; ++r) held[1] += guess[r] == one.label[r] ? one.w[r] : 0.0;
}

// H becomes D model by model; losses are added up by model.
template <class T>
void residuals_of_models(ptrdiff_t first, int rows, int slab, const Pass<T>& p, Scratch<T>& s, Ahead& ahead) {
    load_rows(p, first, rows, s);
    Pass<T> narrow = p;
    narrow.k = p.k / p.models;
    for (int l = 0; l < p.models; ++l) {
        Scratch<T> one = s;
        one.H = s.H + l * narrow.k * p.block;
        const bool leaves_out = p.fold && p.left_out[l] >= 0;
        if (leaves_out && p.held) label_rows(0, rows, narrow, one, s.guess);
        if (leaves_out) weigh_fold(first, rows, p.left_out[l], false, p, s, one);
        residual_of_labels(rows, narrow, one, ahead);
        const ptrdiff_t at = slab * p.models + l;
        p.loss[at] += block_loss(rows, one);
        if (!leaves_out || !p.held) continue;
        weigh_fold(first, rows, p.left_out[l], true, p, s, one);
        add_held(rows, s.guess, one, p.held + 2 * at);
    }
}

}  // namespace
}  // namespace fastsoftmax
