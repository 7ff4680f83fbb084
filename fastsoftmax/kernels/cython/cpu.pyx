# cython: language_level=3, freethreading_compatible=True
"""Which x86-64 level this processor and its operating system offer; built for the baseline."""

cdef extern from *:
    """
    static int x86_64_level(void) {
    #if defined(__x86_64__)
        __builtin_cpu_init();
        #define HAS(feature) __builtin_cpu_supports(feature)
        if (!(HAS("sse4.2") && HAS("popcnt") && HAS("ssse3"))) return 1;
        if (!(HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2"))) return 2;
        if (!(HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl"))) return 3;
        return 4;
    #else
        return 0;
    #endif
    }
    """
    int x86_64_level()


def level():
    """1 to 4 on x86-64, 0 elsewhere."""
    return x86_64_level()
