/* Softmax regression kernels for programs of C and C++: loss and gradient, Hessian products, predictions.

   Each source file that calls them includes this header, with fastsoftmax.get_include() among the include folders, and
   calls fastsoftmax_import() once beforehand, with the GIL:

       if (fastsoftmax_import() < 0) return NULL;      an ImportError is set, as by NumPy's import_array

   After that, every function may be called with or without the GIL, from any thread, by several at once. Inside, it
   holds the GIL for some microseconds to check the arguments and lay the pass out, and releases it while the kernels
   run, which are those of the best instruction set of the processor (FASTSOFTMAX_ISA chooses another).

   m rows, n features, k classes (at least 2). _f32 and _f64 say the type of every array but those of integers and
   sample_weight. Results are those of fastsoftmax.Objective, to the last bit.

   X                      element (i, j) is X[i * row_stride + j * column_stride]: strides count elements, as in BLAS
                          (NumPy's count bytes), and may be of any size and sign. It is read where it is.
   y                      int32, m labels 0..k-1; checked
   sample_weight          m nonnegative numbers, or NULL: all 1
   theta, bias            n * k parameters, feature after feature (C order), and k more, or NULL: none. Where bias
                          follows theta (bias == theta + n * k), and only there, nothing is copied.
   l2                     the penalty l2/2 ||theta||^2, without the bias
   label_smoothing        in [0, 1]
   n_threads              threads of the pass; 0: all cores. No bit of a result depends on it. Callers that are
                          parallel themselves pass 1.

   Arrays to be written are contiguous. Those that may be NULL are then not computed.

   Each function returns FASTSOFTMAX_OK or another number of that enum; fastsoftmax_error() is then the text, of this
   thread's last error. What is written is undefined after an error. */
#ifndef FASTSOFTMAX_H
#define FASTSOFTMAX_H

#ifndef FASTSOFTMAX_NO_PYTHON /* for code that gets the table by other means */
#include <Python.h>
#endif
#include <stddef.h>
#include <stdint.h>

/* It changes where a function or a number changes that there was before. A new function goes to the end. */
#define FASTSOFTMAX_ABI 1

enum {
    FASTSOFTMAX_OK = 0,
    FASTSOFTMAX_INVALID = 1,     /* an argument: its value, a NaN in X, a NULL where there must be an array */
    FASTSOFTMAX_OVERFLOW = 2,    /* logits or results of finite arguments */
    FASTSOFTMAX_NO_MEMORY = 3,
    FASTSOFTMAX_INTERRUPTED = 4, /* by Ctrl-C, between two chunks of rows, if the main thread calls */
    FASTSOFTMAX_FAILED = 5       /* anything else */
};

/* What predict writes for each row: k numbers. */
enum { FASTSOFTMAX_LOGITS = 1, FASTSOFTMAX_PROBA = 2, FASTSOFTMAX_LOG_PROBA = 3 };

typedef struct {
    int abi;     /* FASTSOFTMAX_ABI of the installed package */
    size_t size; /* its sizeof(fastsoftmax_functions) */

    const char *(*error)(void);

    /* value: the mean loss and the penalty; grad: n * k, grad_bias: k, each or NULL.
       dX: m * n, row after row, the gradient by X, or NULL; row_loss: m, without weight and penalty, or NULL. */
    int (*loss_and_grad_f32)(int64_t m, int64_t n, int64_t k, const float *X, int64_t row_stride, int64_t column_stride,
                             const int32_t *y, const double *sample_weight, const float *theta, const float *bias,
                             double l2, double label_smoothing, int n_threads, double *value, float *grad,
                             float *grad_bias, float *dX, float *row_loss);
    int (*loss_and_grad_f64)(int64_t m, int64_t n, int64_t k, const double *X, int64_t row_stride, int64_t column_stride,
                             const int32_t *y, const double *sample_weight, const double *theta, const double *bias,
                             double l2, double label_smoothing, int n_threads, double *value, double *grad,
                             double *grad_bias, double *dX, double *row_loss);

    /* product: the Hessian at theta times v, n * k; v_bias and product_bias: k, wanted where there is a bias. */
    int (*hess_prod_f32)(int64_t m, int64_t n, int64_t k, const float *X, int64_t row_stride, int64_t column_stride,
                         const double *sample_weight, const float *theta, const float *bias, const float *v,
                         const float *v_bias, double l2, int n_threads, float *product, float *product_bias);
    int (*hess_prod_f64)(int64_t m, int64_t n, int64_t k, const double *X, int64_t row_stride, int64_t column_stride,
                         const double *sample_weight, const double *theta, const double *bias, const double *v,
                         const double *v_bias, double l2, int n_threads, double *product, double *product_bias);

    /* what: FASTSOFTMAX_LOGITS, FASTSOFTMAX_PROBA or FASTSOFTMAX_LOG_PROBA; out: m * k, row after row. */
    int (*predict_f32)(int64_t m, int64_t n, int64_t k, const float *X, int64_t row_stride, int64_t column_stride,
                       const float *theta, const float *bias, int n_threads, int what, float *out);
    int (*predict_f64)(int64_t m, int64_t n, int64_t k, const double *X, int64_t row_stride, int64_t column_stride,
                       const double *theta, const double *bias, int n_threads, int what, double *out);

    /* labels: m classes of the largest logit; of equal ones the first. */
    int (*predict_labels_f32)(int64_t m, int64_t n, int64_t k, const float *X, int64_t row_stride,
                              int64_t column_stride, const float *theta, const float *bias, int n_threads,
                              int64_t *labels);
    int (*predict_labels_f64)(int64_t m, int64_t n, int64_t k, const double *X, int64_t row_stride,
                              int64_t column_stride, const double *theta, const double *bias, int n_threads,
                              int64_t *labels);
} fastsoftmax_functions;

static const fastsoftmax_functions *fastsoftmax_table = NULL;

#define fastsoftmax_error (fastsoftmax_table->error)
#define fastsoftmax_loss_and_grad_f32 (fastsoftmax_table->loss_and_grad_f32)
#define fastsoftmax_loss_and_grad_f64 (fastsoftmax_table->loss_and_grad_f64)
#define fastsoftmax_hess_prod_f32 (fastsoftmax_table->hess_prod_f32)
#define fastsoftmax_hess_prod_f64 (fastsoftmax_table->hess_prod_f64)
#define fastsoftmax_predict_f32 (fastsoftmax_table->predict_f32)
#define fastsoftmax_predict_f64 (fastsoftmax_table->predict_f64)
#define fastsoftmax_predict_labels_f32 (fastsoftmax_table->predict_labels_f32)
#define fastsoftmax_predict_labels_f64 (fastsoftmax_table->predict_labels_f64)

#ifndef FASTSOFTMAX_NO_PYTHON
/* 0, or -1 with an ImportError set: there is no such package, or its functions are not those of this header. */
static inline int fastsoftmax_import(void) {
    const fastsoftmax_functions *found = NULL;
    PyObject *module = PyImport_ImportModule("fastsoftmax.kernels.api.functions");
    PyObject *capsule = module ? PyObject_GetAttrString(module, "capsule") : NULL;
    if (capsule) found = (const fastsoftmax_functions *)PyCapsule_GetPointer(capsule, "fastsoftmax_functions");
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    if (!found) return -1;
    if (found->abi != FASTSOFTMAX_ABI || found->size < sizeof(fastsoftmax_functions)) {
        PyErr_Format(PyExc_ImportError,
                     "the installed fastsoftmax has version %d of the C functions, of %zu bytes; this module was built "
                     "for version %d, of %zu bytes: build it again, or install another fastsoftmax",
                     found->abi, found->size, FASTSOFTMAX_ABI, sizeof(fastsoftmax_functions));
        return -1;
    }
    fastsoftmax_table = found;
    return 0;
}
#endif

#endif
