/* Loops over bytes are compiled once more for x86 CPUs with AVX2; the answers are equal. */

#ifndef EDGEKIT_CPU_H
#define EDGEKIT_CPU_H

#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#include <cpuid.h>

#define WIDE __attribute__((target("avx2")))

/* Whether CPU and system both know the wide registers.
 * Source: Intel SDM volume 1, 14.3, Detection of AVX instructions. */
static inline int has_avx2(void)
{
    /* Asked once: to a virtual machine the question costs more than a small image. */
    static int known;
    unsigned a, b, c, d, enabled, upper;
    if (known)
        return known == 2;
    known = 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    __asm__("xgetbv" : "=a"(enabled), "=d"(upper) : "c"(0));
    if ((enabled & 6) == 6 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2))
        known = 2;
    return known == 2;
}
#endif

#endif
