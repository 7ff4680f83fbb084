#include "units/sparse.hpp"

namespace fastsoftmax {

template void run_sparse<float>(const Call&);
template ptrdiff_t sparse_work_bytes<float>(const Call&);

}  // namespace fastsoftmax
