"""What a Cython module may ``cimport``; ``fastsoftmax.h`` says what each function does.

    from fastsoftmax.kernels.api cimport FASTSOFTMAX_OK, error, loss_and_grad_f64

Importing such a module imports fastsoftmax. If its functions have other signatures than those that the module was built
with, that fails with a TypeError, which names the function.
"""

from fastsoftmax.kernels.api.functions cimport (
    FASTSOFTMAX_FAILED,
    FASTSOFTMAX_INTERRUPTED,
    FASTSOFTMAX_INVALID,
    FASTSOFTMAX_LOG_PROBA,
    FASTSOFTMAX_LOGITS,
    FASTSOFTMAX_NO_MEMORY,
    FASTSOFTMAX_OK,
    FASTSOFTMAX_OVERFLOW,
    FASTSOFTMAX_PROBA,
    error,
    hess_prod_f32,
    hess_prod_f64,
    loss_and_grad_f32,
    loss_and_grad_f64,
    predict_f32,
    predict_f64,
    predict_labels_f32,
    predict_labels_f64,
)
