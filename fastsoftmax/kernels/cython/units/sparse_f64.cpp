#include "units/sparse.hpp"

namespace fastsoftmax {

template void run_sparse<double>(const Call&);
template ptrdiff_t sparse_work_bytes<double>(const Call&);

}  // namespace fastsoftmax
