// The reductions of gradients, and facts about this build.
#include "block/reduce.hpp"
#include "call.hpp"

namespace fastsoftmax {

int run_reduce(const ReduceCall& f) {
    if (f.single_grad) return f.single_out ? reduce<float, float>(f) : reduce<float, double>(f);
    return f.single_out ? reduce<double, float>(f) : reduce<double, double>(f);
}

int vector_bytes() { return VEC_BYTES; }

}  // namespace fastsoftmax
