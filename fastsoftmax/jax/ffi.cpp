// A pass over a batch as a target of XLA's foreign function interface: `build.py` compiles this file against the headers
// of the installed jaxlib. An array of no elements stands for NULL.
#include <cstdint>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// `run_batch` and `error` of kernels/api/functions.pyx.
using RunBatch = int (*)(int bits, int64_t m, int64_t n, int64_t k, const void *X, const int32_t *labels,
                         const void *soft, const double *w, const void *theta, const void *bias,
                         double label_smoothing, int n_threads, double *value, void *grad, void *grad_bias, void *dX,
                         void *row_loss);
RunBatch run_batch;
const char *(*last_error)();
// What `run_batch` returns for arguments that it does not take.
constexpr int OK = 0, INVALID = 1;

template <class Buffer>
auto *data_or_null(Buffer &buffer) {
    return buffer.element_count() ? buffer.typed_data() : nullptr;
}

template <ffi::DataType type>
ffi::Error run(ffi::Buffer<type> x, ffi::Buffer<type> w, ffi::Buffer<ffi::S32> labels, ffi::Buffer<type> soft,
               ffi::Buffer<type> b, ffi::Buffer<type> factors, double label_smoothing, int32_t n_threads,
               ffi::ResultBuffer<type> value, ffi::ResultBuffer<type> dx, ffi::ResultBuffer<type> dw,
               ffi::ResultBuffer<type> db, ffi::ResultBuffer<type> row_loss) {
    using T = ffi::NativeType<type>;
    std::vector<double> weights(factors.typed_data(), factors.typed_data() + factors.element_count());
    double sum = 0;
    int status = run_batch(8 * sizeof(T), x.dimensions()[0], x.dimensions()[1], w.dimensions()[1], x.typed_data(),
                           data_or_null(labels), data_or_null(soft), weights.data(), w.typed_data(), data_or_null(b),
                           label_smoothing, n_threads, &sum, data_or_null(*dw), data_or_null(*db), data_or_null(*dx),
                           data_or_null(*row_loss));
    if (status != OK)
        return ffi::Error(status == INVALID ? ffi::ErrorCode::kInvalidArgument : ffi::ErrorCode::kInternal,
                          last_error());
    *value->typed_data() = static_cast<T>(sum);
    return ffi::Error::Success();
}

template <ffi::DataType type>
constexpr auto binding() {
    using Array = ffi::Buffer<type>;
    return ffi::Ffi::Bind()
        .template Arg<Array>()
        .template Arg<Array>()
        .template Arg<ffi::Buffer<ffi::S32>>()
        .template Arg<Array>()
        .template Arg<Array>()
        .template Arg<Array>()
        .template Attr<double>("label_smoothing")
        .template Attr<int32_t>("n_threads")
        .template Ret<Array>()
        .template Ret<Array>()
        .template Ret<Array>()
        .template Ret<Array>()
        .template Ret<Array>();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(fastsoftmax_f32, run<ffi::F32>, binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(fastsoftmax_f64, run<ffi::F64>, binding<ffi::F64>());

// Before the first call: the addresses of the functions, which have no symbol that a linker knows.
extern "C" void fastsoftmax_set_functions(RunBatch batch, const char *(*error)()) {
    run_batch = batch;
    last_error = error;
}
