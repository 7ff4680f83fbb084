// What a pass works on, and the buffers of a thread.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include "block/pack.hpp"
#include "call.hpp"
#include "microkernels/amx_tile.hpp"

namespace fastsoftmax {
namespace {

// One call, with pointers of the dtype of the computation.
template <class T>
struct Pass : CallOf<T> {};

template <class T>
Pass<T> pass_of(const Call& c) {
    Pass<T> p;
    static_assert(sizeof p == sizeof c, "they differ in what pointers point to");
    std::memcpy((void*)&p, &c, sizeof p);
    return p;
}

// The number of the calling thread in its team, and the threads of the team.
inline int thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}
inline int team_size() {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

// Cuts scratch memory into pieces that begin on a cache line. Of no memory it finds the size. Nothing but prefetches may
// touch what lies between two pieces, which a build with AddressSanitizer makes longer and watches.
template <class T>
struct Cutter {
    T *start, *at = start;
    explicit Cutter(T* start) : start(start) {}
    template <class N = T>
    N* take(ptrdiff_t count) {
        T* piece = at;
        at += round_up<T>((count * ptrdiff_t(sizeof(N)) + ptrdiff_t(sizeof(T)) - 1) / ptrdiff_t(sizeof(T)));
        at += RED_ZONE_BYTES / ptrdiff_t(sizeof(T));
        if (start) forbid((N*)piece + count, at);
        return (N*)piece;
    }
    ptrdiff_t size() const { return at - start; }
};

// The beginning of the scratch memory, on a cache line. Packed parameters come first.
template <class T>
T* parameter_space(const Pass<T>& p) {
    return (T*)((uintptr_t(p.work) + VEC_BYTES - 1) / VEC_BYTES * VEC_BYTES);
}

// Matrix units want whole tiles: of classes in H and in the sums of a gradient, and of features in the latter. A tile's
// lines must not all fall into the same set of L1, as those that are 4 kB apart do.
template <class T>
ptrdiff_t class_lines(ptrdiff_t classes, const Pass<T>& p) {
    return p.products.forward == AMX_TILE ? round_up<T>(classes, UNIT_LINES) : classes;
}
template <class T>
ptrdiff_t gradient_line(const Pass<T>& p) {
    if (p.products.backward != AMX_TILE) return round_up<T>(p.n);
    const ptrdiff_t wide = round_up<T>(round_up<T>(p.n), UNIT_LINES);
    return wide % 256 ? wide : wide + UNIT_LINES;
}

// Parts that numbers of a type are exact in.
inline int exact_parts(int type) {
    return type == UINT8 || type == INT8 || type == BFLOAT16 ? 1 : type == FLOAT16 || type == INT16 ? 2 : 3;
}

// A block of X, and some classes of D, as matrix units read them: see bfloat16.hpp.
struct UnitBuffers {
    Operand forward_X{}, backward_X{}, D{};
    bool filled = false;  // with the block at hand

    template <class T>
    UnitBuffers(Cutter<T>& cut, const Pass<T>& p) {
        if (p.products.forward != AMX_TILE) return;
        const ptrdiff_t row_steps = unit_steps(p.block), feature_steps = unit_steps(p.n);
        const ptrdiff_t classes = p.products.class_chunk ? std::min<ptrdiff_t>(p.products.class_chunk, p.k) : p.k;
        const int parts = exact_parts(p.X.type);
        forward_X = take(cut, 2 * row_steps, feature_steps, std::min(p.products.forward_parts, parts));
        if (!p.grad) return;
        backward_X = take(cut, 2 * feature_steps, row_steps, std::min(p.products.backward_parts, parts));
        D = take(cut, unit_lines(classes), row_steps, p.products.backward_parts);
    }
    template <class T>
    static Operand take(Cutter<T>& cut, ptrdiff_t lines, ptrdiff_t steps, int parts) {
        const ptrdiff_t line = steps * UNIT_SIZE, part = lines * line;
        return {cut.template take<BFloat16>(parts * part), line, part, parts};
    }
};

// What the softmax of a block works on, whichever pass owns it.
template <class T>
struct BlockBuffers {
    T *H, *U;  // [class][row]: logits, then residuals D; logits along the direction, or soft targets
    T *wt, *top, *hit, *logs;  // of each row: weight, largest logit, logit of the label, log of the sum of exponentials
    double* w;                 // of each row: weight times `scale`
    typename Lanes<T>::Int* label;
    T* columns = nullptr;  // X with rows in the lanes
    T* bias = nullptr;     // running column sums of D, a vector for each class

    // With room for H and `others` numbers of U.
    BlockBuffers(Cutter<T>& cut, ptrdiff_t logits, ptrdiff_t others, const Pass<T>& p) {
        H = cut.take(logits), U = cut.take(others);
        wt = cut.take(p.block), top = cut.take(p.block), hit = cut.take(p.block), logs = cut.take(p.block);
        w = cut.template take<double>(p.block);
        label = cut.template take<typename Lanes<T>::Int>(p.block);
    }
};

// Between the buffers of two threads: processors fetch cache lines in pairs and ahead, and the last buffer of one thread
// is written as often as the first of the next.
constexpr ptrdiff_t APART_BYTES = 512;

// Classes that `input_gradient` takes at a time.
constexpr ptrdiff_t DX_CLASSES = 256;

// A thread's buffers, cut from Pass::work.
template <class T>
struct Scratch : BlockBuffers<T> {
    T *staged, *panel;  // a converted block of X; a panel of X with features in the lanes
    T* residuals;  // of some classes, as scalars of dX
    T* G;  // [class][feature]: running sums of the gradient since the last flush, with room for whole panels
    double* fold_w;  // w and wt without the rows that a model leaves out
    T* fold_wt;
    int64_t* best;  // the class of the largest logit of each row
    UnitBuffers units;
    Scratch(Cutter<T> cut, const Pass<T>& p, ptrdiff_t outputs)
        : BlockBuffers<T>(cut, p.block * class_lines(p.k, p), p.direction || p.soft ? p.block * class_lines(p.k, p) : 0,
                          p),
          units(cut, p) {
        const ptrdiff_t R = p.block, wide = gradient_line(p);
        staged = cut.take(stage_size<T>(R, p.n));
        this->columns = cut.take(round_up<T>(R) * std::max<ptrdiff_t>(p.n, VL<T>));
        panel = cut.take(round_up<T>(R) * TILE_LANES<T>);
        residuals = cut.take(p.dX ? std::min(p.k, DX_CLASSES) * R : 0);
        G = cut.take(p.grad ? class_lines(outputs, p) * wide : 0);
        this->bias = cut.take(p.bias_grad ? std::max(outputs * VL<T>, wide) : 0);  // of a Gram matrix: one row
        fold_wt = cut.take(p.fold ? R : 0);
        fold_w = cut.template take<double>(p.fold ? R : 0);
        best = cut.template take<int64_t>(p.held ? R : 0);
        size = cut.size() + APART_BYTES / ptrdiff_t(sizeof(T));
    }
    ptrdiff_t size;
};

template <class T>
ptrdiff_t scratch_size(const Pass<T>& p, ptrdiff_t outputs) {
    return Scratch<T>(Cutter<T>(nullptr), p, outputs).size;
}

}  // namespace
}  // namespace fastsoftmax
