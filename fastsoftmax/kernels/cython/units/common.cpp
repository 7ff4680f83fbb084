// The reductions of gradients, and facts about this build.
#include "block/reduce.hpp"
#include "call.hpp"

namespace fastsoftmax {
namespace {

// G is the dtype of the gradient, O that of the result.
template <class G, class O>
int reduce_as(const ReduceCall& f) {
    return reduce_gradient((const G*)f.grad, f.slabs, f.n * f.k, f.scale, f.l2, (const O*)f.theta, (O*)f.out, f.threads);
}

}  // namespace

int run_reduce(const ReduceCall& f) {
    if (f.transposed) return reduce_transposed(f);
    if (f.single_grad) return f.single_out ? reduce_as<float, float>(f) : reduce_as<float, double>(f);
    return f.single_out ? reduce_as<double, float>(f) : reduce_as<double, double>(f);
}

int vector_bytes() { return VEC_BYTES; }

}  // namespace fastsoftmax
