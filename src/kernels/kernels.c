#include "kernels/kernels.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const kernel_table kernel_portable_float, kernel_portable_double;
#ifdef STPN_HAVE_AVX2
extern const kernel_table kernel_avx2_float, kernel_avx2_double;
#endif
#ifdef STPN_HAVE_AVX512
extern const kernel_table kernel_avx512_float, kernel_avx512_double;
#endif
#ifdef STPN_HAVE_NEON
extern const kernel_table kernel_neon_float, kernel_neon_double;
#endif

const kernel_table *kernel_at(stpn_real real, int index)
{
    int seen = 0;
#ifdef STPN_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && seen++ == index)
        return real == STPN_DOUBLE ? &kernel_avx512_double : &kernel_avx512_float;
#endif
#ifdef STPN_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && seen++ == index)
        return real == STPN_DOUBLE ? &kernel_avx2_double : &kernel_avx2_float;
#endif
#ifdef STPN_HAVE_NEON
    if (seen++ == index) return real == STPN_DOUBLE ? &kernel_neon_double : &kernel_neon_float;
#endif
    if (seen == index) return real == STPN_DOUBLE ? &kernel_portable_double : &kernel_portable_float;
    return NULL;
}

const char *stpn_kernel_name(int index)
{
    const kernel_table *kernel = index < 0 ? NULL : kernel_at(STPN_FLOAT, index);
    return kernel ? kernel->name : NULL;
}

stpn_status kernel_choose(const kernel_table **kernel, stpn_real real, stpn_error *error)
{
    const char *forced = getenv("STPN_KERNEL");
    *kernel = kernel_at(real, 0);
    if (!forced || !*forced) return STPN_OK;
    char known[128] = "";
    size_t used = 0;
    for (int i = 0; kernel_at(real, i) && used < sizeof known; i++) {
        *kernel = kernel_at(real, i);
        if (strcmp((*kernel)->name, forced) == 0) return STPN_OK;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", (*kernel)->name);
    }
    return error_set(error, STPN_ERROR_INPUT, "STPN_KERNEL is \"%s\", expected one that this processor runs: %s",
                     forced, known);
}
