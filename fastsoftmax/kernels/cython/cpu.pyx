# cython: language_level=3, freethreading_compatible=True
"""What this processor and its operating system offer: an x86-64 level, matrix units. Built for the baseline."""

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

    #if defined(__x86_64__)
    #include <cpuid.h>
    #endif
    #ifdef __linux__
    #include <sys/syscall.h>
    #include <unistd.h>
    #endif
    static int has_avx512_bf16(void) {
    #if defined(__x86_64__)
        unsigned a, b, c, d;
        return x86_64_level() == 4 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 5 & 1;
    #else
        return 0;
    #endif
    }
    /* Linux lets a process use the tile registers, 8 kB of each thread's state, once it has asked for them. */
    static int may_use_amx(void) {
    #if defined(__x86_64__) && defined(__linux__) && defined(SYS_arch_prctl)
        enum { TILES_BF16 = 1 << 22 | 1 << 24, TILE_STATE = 3 << 17, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
        unsigned a, b, c, d, low, high;
        if (x86_64_level() < 4 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
        if ((d & TILES_BF16) != TILES_BF16) return 0;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return (low & TILE_STATE) == TILE_STATE && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    #else
        return 0;
    #endif
    }
    """
    int x86_64_level()
    int has_avx512_bf16()
    int may_use_amx()


def level():
    """1 to 4 on x86-64, 0 elsewhere."""
    return x86_64_level()


def matrix_units():
    """Those of `fastsoftmax.kernels.units.UNITS` that this process may use: "amx", "avx512_bf16" or ""."""
    return "amx" if may_use_amx() else "avx512_bf16" if has_avx512_bf16() else ""
