// The reductions of gradients, and facts about this build.
#include "block/reduce.hpp"
#include "call.hpp"

namespace fastsoftmax {
namespace {

// G is the dtype of the gradient, O that of the result.
template <class G, class O>
int reduce_as(const ReduceCall& f) {
    return reduce_gradient((const G*)f.grad, f.slabs, f.size, f.scale, f.l2, (const O*)f.theta, (O*)f.out, f.threads);
}

}  // namespace

int run_reduce(const ReduceCall& f) {
    if (f.single_grad) return f.single_out ? reduce_as<float, float>(f) : reduce_as<float, double>(f);
    return f.single_out ? reduce_as<double, float>(f) : reduce_as<double, double>(f);
}

bool reduce_transposed(double* grad, double* bias, ptrdiff_t slabs, ptrdiff_t k, ptrdiff_t n, double scale, double l2,
                       const double* theta, double* out) {
    add_slabs(grad, slabs, k * n);
    bool finite = scale_transposed(grad, k, n, scale, l2, theta, out);
    if (bias) {
        add_slabs(bias, slabs, k);
        finite &= scale_transposed(bias, k, 1, scale, 0.0, nullptr, out + n * k);
    }
    return finite;
}

int vector_bytes() { return VEC_BYTES; }

}  // namespace fastsoftmax
