/* Which of the kernel's instruction sets this processor, and its operating system, can run. */

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#if defined(__x86_64__)
#include <cpuid.h>

static int bit(unsigned value, int at) { return value >> at & 1; }

/* The names, the fastest first, with blanks between them. Bits after Intel's manual, volume 2, CPUID. */
EXPORT const char *mercury_sets(void) {
    unsigned a, b, c, d, c1, low = 0, high, a7 = 0, b7, c7;
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return "plain";
    if (bit(c1, 27)) __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0)); /* which registers the system saves */
    int avx2 = (low & 6) == 6 && bit(c1, 12) && bit(c1, 22) && bit(c1, 29) && bit(b7, 3) && bit(b7, 5) && bit(b7, 8);
    if (!avx2) return "plain";
    int wide = (low & 0xe6) == 0xe6 && bit(b7, 16) && bit(b7, 17) && bit(b7, 28) && bit(b7, 30) && bit(b7, 31);
    if (!__get_cpuid_count(7, 1, &a7, &b, &c, &d)) a7 = 0;
    int vnni = bit(a7, 4);
    if (wide && bit(c7, 11)) return vnni ? "avx512 avxvnni avx2 plain" : "avx512 avx2 plain";
    return vnni ? "avxvnni avx2 plain" : "avx2 plain";
}
#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
EXPORT const char *mercury_sets(void) {
    return getauxval(AT_HWCAP) >> 20 & 1 ? "dotprod plain" : "plain"; /* HWCAP_ASIMDDP */
}
#else /* all of Apple's and all that run Windows 11 */
EXPORT const char *mercury_sets(void) { return "dotprod plain"; }
#endif
#else
EXPORT const char *mercury_sets(void) { return "plain"; }
#endif
