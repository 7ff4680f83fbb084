// What needs no pass: the end of a sparse gradient, and facts about this build.
#include "block/reduce.hpp"
#include "call.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace fastsoftmax {
namespace {

// G and O are float or double.
template <class G, class O>
int finish_as(const Finish& f) {
    return finish((const G*)f.grad, f.slabs, f.size, f.scale, f.l2, (const O*)f.theta, (O*)f.out, f.threads);
}

}  // namespace

int run_finish(const Finish& f) {
    if (f.single_grad) return f.single_out ? finish_as<float, float>(f) : finish_as<float, double>(f);
    return f.single_out ? finish_as<double, float>(f) : finish_as<double, double>(f);
}

int openmp_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 0;
#endif
}

int vector_bytes() { return VEC_BYTES; }

}  // namespace fastsoftmax
