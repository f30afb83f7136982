/* The recursion of solvers/recursion.py, where it is explained. */

#include <math.h>
#include <stdint.h>

#define INLINE static inline
/* number, sigma and sigma_prime are put here */

#define TOGETHER 8 /* steps whose coefficients are added to all later rows in one pass over these */

/* row += sum over TOGETHER coefficients g[j] of rows c + j units */
static inline void add_together(int32_t units, number *restrict row, const number *restrict g, const number *restrict c) {
    const number g0 = g[0], g1 = g[1], g2 = g[2], g3 = g[3], g4 = g[4], g5 = g[5], g6 = g[6], g7 = g[7];
    const int64_t n = units;
    for (int64_t i = 0; i < n; i++) {
        number low = g0 * c[i] + g1 * c[n + i] + g2 * c[2 * n + i] + g3 * c[3 * n + i];
        number high = g4 * c[4 * n + i] + g5 * c[5 * n + i] + g6 * c[6 * n + i] + g7 * c[7 * n + i];
        row[i] += low + high;
    }
}

/* scratch has room for two rows; a and noise may be NULL */
void recursion(int32_t steps, int32_t units, number *Z, number *G, number *y, number *gain, number *shrink,
               number *a, number *noise, number *errors, number *scratch) {
    const int64_t n = units;
    number *restrict value = scratch, *restrict slope = scratch + n;
    for (int32_t k = 0; k < steps; k++) {
        number *restrict z = Z + k * n;
        for (int32_t j = k - k % TOGETHER; j < k; j++) {
            const number g = G[(int64_t)k * steps + j], *restrict c = Z + j * n;
            for (int64_t i = 0; i < n; i++) z[i] += g * c[i];
        }
        for (int64_t i = 0; i < n; i++) {
            value[i] = sigma(z[i]);
            slope[i] = sigma_prime(z[i]);
        }
        number sum = 0;
        if (a) {
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++) sum += a[i] * value[i];
        } else {
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++) sum += value[i];
        }
        errors[k] = y[k] - sum / (number)n;
        const number push = gain[k] * errors[k];
        if (a) {
            const number keep = shrink[k];
            for (int64_t i = 0; i < n; i++) {
                z[i] = push * a[i] * slope[i];
                a[i] = keep * a[i] + push * value[i];
            }
            if (noise)
                for (int64_t i = 0; i < n; i++) a[i] += noise[k * n + i];
        } else {
            for (int64_t i = 0; i < n; i++) z[i] = push * slope[i];
        }
        if ((k + 1) % TOGETHER == 0)
            for (int32_t later = k + 1; later < steps; later++)
                add_together(units, Z + later * n, G + (int64_t)later * steps + k + 1 - TOGETHER,
                             Z + (k + 1 - TOGETHER) * n);
    }
}
