#include "units/dense.hpp"

namespace fastsoftmax {

template void run_dense<double>(const Call&);
template ptrdiff_t dense_work_bytes<double>(const Call&);

}  // namespace fastsoftmax
