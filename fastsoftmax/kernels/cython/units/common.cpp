// The reductions of gradients, exp and log by themselves, and facts about this build.
#include "block/reduce.hpp"
#include "call.hpp"

namespace fastsoftmax {
namespace {

template <class T>
void apply_to(Function f, const T* x, T* out, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i += VL<T>) {
        T lanes[VL<T>] = {};
        const size_t bytes = sizeof(T) * size_t(std::min<ptrdiff_t>(VL<T>, count - i));
        std::memcpy(lanes, x + i, bytes);
        const Vec<T> v = load(lanes);
        store<T>(lanes, f == EXP ? vexp<T>(v) : vlog<T>(v));
        std::memcpy(out + i, lanes, bytes);
    }
}

}  // namespace

int run_reduce(const ReduceCall& f) {
    if (f.single_grad) return f.single_out ? reduce<float, float>(f) : reduce<float, double>(f);
    return f.single_out ? reduce<double, float>(f) : reduce<double, double>(f);
}

int vector_bytes() { return VEC_BYTES; }

void apply(Function f, bool single, const void* x, void* out, ptrdiff_t count) {
    if (single) return apply_to(f, (const float*)x, (float*)out, count);
    apply_to(f, (const double*)x, (double*)out, count);
}

}  // namespace fastsoftmax
