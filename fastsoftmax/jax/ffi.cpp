// The functions of fastsoftmax.h as targets of XLA's foreign function interface: `build.py` compiles this file against
// the headers of the installed jaxlib. An array of no elements stands for NULL.
#include <memory>
#include <vector>

#include "fastsoftmax.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

template <class Buffer>
auto *data_or_null(Buffer &buffer) {
    return buffer.element_count() ? buffer.typed_data() : nullptr;
}

template <class T>
constexpr auto loss_and_grad(const fastsoftmax_functions *table) {
    if constexpr (sizeof(T) == 4)
        return table->loss_and_grad_f32;
    else
        return table->loss_and_grad_f64;
}

template <ffi::DataType type>
ffi::Error run(ffi::Buffer<type> x, ffi::Buffer<type> w, ffi::Buffer<ffi::S32> labels, ffi::Buffer<type> b,
               ffi::Buffer<type> sample_weight, double label_smoothing, int32_t n_threads,
               ffi::ResultBuffer<type> loss, ffi::ResultBuffer<type> dx, ffi::ResultBuffer<type> dw,
               ffi::ResultBuffer<type> db, ffi::ResultBuffer<type> row_loss) {
    using T = ffi::NativeType<type>;
    int64_t m = x.dimensions()[0], n = x.dimensions()[1], k = w.dimensions()[1];
    std::vector<double> weights(sample_weight.typed_data(), sample_weight.typed_data() + sample_weight.element_count());
    double value = 0;
    int status = loss_and_grad<T>(fastsoftmax_table)(
        m, n, k, x.typed_data(), n, 1, labels.typed_data(), weights.empty() ? nullptr : weights.data(), w.typed_data(),
        data_or_null(b), 0.0, label_smoothing, n_threads, &value, data_or_null(*dw), data_or_null(*db),
        data_or_null(*dx), data_or_null(*row_loss));
    if (status != FASTSOFTMAX_OK)
        return ffi::Error(status == FASTSOFTMAX_INVALID ? ffi::ErrorCode::kInvalidArgument : ffi::ErrorCode::kInternal,
                          fastsoftmax_table->error());
    *loss->typed_data() = static_cast<T>(value);
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

// Before the first call: the address of the table, which has no symbol that a linker knows.
extern "C" void fastsoftmax_set_table(const fastsoftmax_functions *table) { fastsoftmax_table = table; }
