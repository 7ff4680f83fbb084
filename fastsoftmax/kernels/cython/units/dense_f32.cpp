#include "units/dense.hpp"

namespace fastsoftmax {

template void run_dense<float>(const Call&);
template ptrdiff_t dense_work_bytes<float>(const Call&);

}  // namespace fastsoftmax
