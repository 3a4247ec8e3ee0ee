/* Detects the kernel's instruction sets that this processor and its operating system support, and guards mapped files
   against truncation. */

/* For MAP_ANONYMOUS and sigaction, which standard C does not have. */
#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

/* If a mapped file is truncated, reading its missing pages raises SIGBUS, which ends the process. The handler replaces
   the whole guarded range by pages of zeros and records the loss, so that the reader continues with wrong numbers and
   can find out later. Windows does not allow truncating a mapped file. */

/* The most guarded ranges. */
#define GUARDED 64

static struct {
    _Atomic uintptr_t start; /* 0 if the entry is free */
    _Atomic size_t size;
    atomic_int lost;
} ranges[GUARDED];
static struct sigaction earlier;
static atomic_flag installed = ATOMIC_FLAG_INIT;

static void replace(int number, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARDED; i++) {
        uintptr_t start = ranges[i].start;
        size_t size = ranges[i].size;
        if (!start || at < start || at >= start + size) continue;
        void *zeros = mmap((void *)start, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (zeros == MAP_FAILED) break;
        ranges[i].lost = 1;
        return;
    }
    /* Restore the previous handler: the signal is raised again at once. */
    sigaction(number, &earlier, NULL);
}

/* Guard a range of mapped pages. Returns its number, or -1 if there are too many or no handler can be installed. */
EXPORT int32_t mercury_guard(void *start, size_t size) {
    if (!atomic_flag_test_and_set(&installed)) {
        struct sigaction action = {.sa_sigaction = replace, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigemptyset(&action.sa_mask);
        if (sigaction(SIGBUS, &action, &earlier)) return -1;
    }
    for (int32_t i = 0; i < GUARDED; i++) {
        uintptr_t none = 0;
        if (!atomic_compare_exchange_strong(&ranges[i].start, &none, 1)) continue;
        ranges[i].lost = 0;
        ranges[i].start = (uintptr_t)start;
        ranges[i].size = size;
        return i;
    }
    return -1;
}

/* Return whether a guarded range was replaced by zeros since the last call. */
EXPORT int32_t mercury_lost(int32_t number) { return atomic_exchange(&ranges[number].lost, 0); }

/* Stop guarding a range. */
EXPORT void mercury_unguard(int32_t number) {
    ranges[number].size = 0;
    ranges[number].start = 0;
}
#endif

#if defined(__x86_64__)
#include <cpuid.h>

static int bit(unsigned value, int at) { return value >> at & 1; }

/* Return the names, fastest first, separated by blanks. The bits are from Intel's manual, volume 2, CPUID. */
EXPORT const char *mercury_sets(void) {
    unsigned a, b, c, d, c1, low = 0, high, a7 = 0, b7, c7;
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return "plain";
    /* The registers that the operating system saves. */
    if (bit(c1, 27)) __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
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
    /* Bit 20 is HWCAP_ASIMDDP. */
    return getauxval(AT_HWCAP) >> 20 & 1 ? "dotprod plain" : "plain";
}
#else /* All of Apple's processors, and all that run Windows 11, have it. */
EXPORT const char *mercury_sets(void) { return "dotprod plain"; }
#endif
#else
EXPORT const char *mercury_sets(void) { return "plain"; }
#endif
