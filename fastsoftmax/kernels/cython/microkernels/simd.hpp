// Vectors of the instruction set that this file is compiled for, with exp and log.
//
// They are GCC's vector extension, which Clang has too: arithmetic and shuffles on a value of VEC_BYTES bytes, without
// intrinsics. One source thus serves x86-64-v2, v3, v4 and other processors. Everything is in an anonymous namespace,
// because several builds of it may be loaded into one process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX512F__)
#define VEC_BYTES 64
#elif defined(__AVX__)
#define VEC_BYTES 32
#else
#define VEC_BYTES 16
#endif

#define INLINE inline __attribute__((always_inline))

namespace fastsoftmax {
namespace {

template <class T>
struct Lanes;

template <>
struct Lanes<double> {
    typedef double V __attribute__((vector_size(VEC_BYTES)));
    typedef int64_t I __attribute__((vector_size(VEC_BYTES)));
    typedef int64_t Int;
    static constexpr int mantissa = 52;
    // The low bits of x + magic are x rounded to an integer, plus the exponent's bias.
    static constexpr double magic = 0x1.8p52 + 1023;
    static constexpr double exp_zero = -708.3964185322641;  // exp of less is subnormal and becomes 0
    static constexpr double ln2_hi = 0x1.62e42fefa3800p-1, ln2_lo = 5.497923018708371174712472e-14;
};

template <>
struct Lanes<float> {
    typedef float V __attribute__((vector_size(VEC_BYTES)));
    typedef int32_t I __attribute__((vector_size(VEC_BYTES)));
    typedef int32_t Int;
    static constexpr int mantissa = 23;
    static constexpr float magic = 0x1.8p23f + 127;
    static constexpr float exp_zero = -87.33654f;
    static constexpr float ln2_hi = 0.693145751953125f, ln2_lo = 0.000001428606820309417232121458f;
};

// A vector of VL<T> numbers, and one of integers of the same width.
template <class T>
using Vec = typename Lanes<T>::V;
template <class T>
using IVec = typename Lanes<T>::I;
template <class T>
constexpr int VL = VEC_BYTES / int(sizeof(T));

// A vector of L lanes, which may be less than a whole one.
template <class T, int L>
struct VecOfLanes {
    typedef T V __attribute__((vector_size(L * sizeof(T))));
};
template <class T, int L>
using VecOf = typename VecOfLanes<T, L>::V;

template <class T, int L = VL<T>>
INLINE VecOf<T, L> load(const T* p) {
    VecOf<T, L> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T, int L = VL<T>>
INLINE void store(T* p, VecOf<T, L> v) {
    std::memcpy(p, &v, sizeof v);
}
// A load that GCC may not repeat. Without the asm it folds the load into each of the multiply-adds that use the vector,
// and loads that cross cache lines are slow. 500k x 50, k = 3, in F order, float64, X in cache, one thread: the
// products take 22 and 26 cycles a row, were 42 and 49.
template <class T, int L = VL<T>>
INLINE VecOf<T, L> load_once(const T* p) {
    VecOf<T, L> v = load<T, L>(p);
#ifdef __SSE2__
    asm("" : "+v"(v));
#endif
    return v;
}
template <class T>
INLINE Vec<T> splat(T x) {
    return x - Vec<T>{};
}
template <class T>
INLINE Vec<T> maximum(Vec<T> a, Vec<T> b) {
    return a > b ? a : b;
}
// VL<double> numbers as float64, in which the losses of float32 are formed and summed.
INLINE Vec<double> load_double(const double* p) { return load(p); }
INLINE Vec<double> load_double(const float* p) {
    typedef float Half __attribute__((vector_size(VEC_BYTES / 2)));
    Half h;
    std::memcpy(&h, p, sizeof h);
    return __builtin_convertvector(h, Vec<double>);
}
template <class T>
INLINE double sum_lanes(Vec<T> v) {
    double s = 0;
    for (int i = 0; i < VL<T>; ++i) s += double(v[i]);
    return s;
}

// (exp(r) - 1 - r) / r^2 for |r| <= ln2 / 2. Roundings of r, of exp(r) - 1 and of the result come to 0.99 ulp where r
// is about -0.28, and to less elsewhere. Within what they leave to 0.996 ulp these polynomials are off the least, by
// 0.05 ulp in float32 and 0.04 in float64: linear programming found them, each coefficient rounded before the next was
// fitted. Minimax polynomials of the same degree are off by 0.12, there as well: exp was off by 1.03 ulp.
INLINE Vec<double> exp_poly(Vec<double> r) {
    Vec<double> p = r * 2.4751930833799725e-8 + 2.762872141514845e-7;
    p = p * r + 2.7558369946840834e-6;
    p = p * r + 2.4801497880787154e-5;
    p = p * r + 1.9841268633890522e-4;
    p = p * r + 1.3888888938300185e-3;
    p = p * r + 8.333333333891586e-3;
    p = p * r + 4.1666666666554907e-2;
    p = p * r + 1.6666666666665814e-1;
    return p * r + 5.000000000000007e-1;
}
INLINE Vec<float> exp_poly(Vec<float> r) {
    Vec<float> p = r * 0x1.61b0e0p-10f + 0x1.12371cp-7f;
    p = p * r + 0x1.556454p-5f;
    p = p * r + 0x1.555496p-3f;
    return p * r + 0x1.ffffeep-2f;
}
// Minimax polynomials (Remez), relative error 1.2e-17 in float64 and 7.4e-9 in float32:
// 2 (atanh(s) - s) / s^3 as a function of z = s^2, for |s| <= (sqrt2 - 1) / (sqrt2 + 1):
INLINE Vec<double> log_poly(Vec<double> z) {
    Vec<double> p = z * 0.14617011557850926235 + 0.15331673008335739741;
    p = p * z + 0.18182890700254556215;
    p = p * z + 0.22222211111281341353;
    p = p * z + 0.28571428626134041321;
    p = p * z + 0.39999999999899113847;
    return p * z + 0.66666666666666697017;
}
INLINE Vec<float> log_poly(Vec<float> z) {
    Vec<float> p = z * 0.23331108469f + 0.28550793380f;
    p = p * z + 0.40000122133f;
    return p * z + 0.66666666554f;
}

// exp(x) for x <= 0, to within 1 ulp. 0 where the result would be subnormal, NaN for NaN.
template <class T>
INLINE Vec<T> vexp(Vec<T> x) {
    typedef Lanes<T> L;
    const Vec<T> shifted = x * splat<T>(T(1.4426950408889634074)) + splat<T>(L::magic);
    const Vec<T> n = shifted - splat<T>(L::magic);
    Vec<T> r = x - n * splat<T>(L::ln2_hi);
    r = r - n * splat<T>(L::ln2_lo);
    const Vec<T> less_one = exp_poly(r) * (r * r) + r, power = (Vec<T>)((IVec<T>)shifted << L::mantissa);
    return x < splat<T>(L::exp_zero) ? Vec<T>{} : less_one * power + power;
}

// log(x) for finite x >= 1, to within 1 ulp: the sum of exponentials one of which is exp(0).
template <class T>
INLINE Vec<T> vlog(Vec<T> x) {
    typedef Lanes<T> L;
    typedef typename L::Int Int;
    // x = 2^e m with m in [sqrt(1/2), sqrt(2)).
    const Int sqrt_half = sizeof(T) == 8 ? Int(0x3fe6a09e667f3bcdLL) : Int(0x3f3504f3);
    const IVec<T> e = ((IVec<T>)x - sqrt_half) >> L::mantissa;
    const Vec<T> m = (Vec<T>)((IVec<T>)x - (e << L::mantissa));
    const Vec<T> n = __builtin_convertvector(e, Vec<T>);
    const Vec<T> f = m - splat<T>(T(1));
    const Vec<T> s = f / (m + splat<T>(T(1)));
    const Vec<T> z = s * s;
    // 2 s = f - s f. The rest is small, so that no digit of f is lost: with 2 s itself the error was 1.7 ulp.
    const Vec<T> rest = s * (z * log_poly(z) - f) + n * splat<T>(L::ln2_lo);
    return n * splat<T>(L::ln2_hi) + (f + rest);
}

}  // namespace
}  // namespace fastsoftmax
