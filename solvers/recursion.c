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
void recursion(int32_t steps, int32_t units, number *Z, number *G, number *y, number *gain, double *shrink,
               double *a, number *noise, number *errors, number *scratch) {
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
            for (int64_t i = 0; i < n; i++) sum += (number)a[i] * value[i];
        } else {
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < n; i++) sum += value[i];
        }
        errors[k] = y[k] - sum / (number)n;
        const number push = gain[k] * errors[k];
        if (a) {
            const double keep = shrink[k]; /* 1 - 1e-9 is 1 in float */
            for (int64_t i = 0; i < n; i++) {
                z[i] = push * (number)a[i] * slope[i];
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

/* C = alpha op(A) op(B) + beta C by columns, of BLAS: op A, op B, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc */
typedef void (*Gemm)(char *, char *, int *, int *, int *, number *, number *, int *, number *, int *, number *, number *, int *);

/* Blocks of steps without noise, as in solvers/blocked.py: block b takes samples ends[b - 1] ... ends[b] - 1.
 *
 * The weights are scale times W, by rows (units, width); the scale is returned.  x by rows (samples, width).
 * scratch has room for most (most + units) + 2 units numbers, most being the length of the longest block. */
double train(void *gemm, int32_t blocks, int32_t *ends, int32_t most, int32_t units, int32_t width, double scale,
             double least_scale, number *W, number *x, number *y, number *gain, double *shrink, double *a,
             number *errors, number *scratch) {
    Gemm product = (Gemm)gemm;
    int n = units, d = width;
    number one = 1, none = 0, *G = scratch, *Z = G + (int64_t)most * most, *rows = Z + (int64_t)most * n;
    for (int32_t b = 0, first = 0; b < blocks; first = ends[b++]) {
        int steps = ends[b] - first;
        number *X = x + (int64_t)first * d;
        double *keep = shrink + first;
        product("T", "N", &steps, &steps, &d, &one, X, &d, X, &d, &none, G, &steps);
        product("T", "N", &n, &steps, &d, &one, W, &d, X, &d, &none, Z, &n);
        for (int k = 0; k < steps; k++) { /* scale P_k of the weights is left before step k */
            double decay = 1;             /* M_kj */
            for (int j = k - 1; j >= 0; j--) {
                G[(int64_t)k * steps + j] *= (number)decay;
                decay *= keep[j];
            }
            if (scale != 1) {
                const number factor = (number)scale;
                for (int64_t i = 0; i < n; i++) Z[k * (int64_t)n + i] *= factor;
            }
            scale *= keep[k];
        }
        recursion(steps, units, Z, G, y + first, gain + first, keep, a, 0, errors + first, rows);
        number kept = 1;
        if (!(scale >= least_scale)) {
            kept = (number)scale;
            scale = 1;
        }
        double decay = 1 / scale; /* M_Bj, for weights that will be multiplied by the scale */
        for (int j = steps - 1; j >= 0; j--) {
            const number factor = (number)decay;
            if (factor != 1)
                for (int64_t i = 0; i < n; i++) Z[j * (int64_t)n + i] *= factor;
            decay *= keep[j];
        }
        product("N", "T", &d, &n, &steps, &one, X, &d, Z, &n, &kept, W, &d);
    }
    return scale;
}
