/* The recursion of solvers/recursion.py on a GPU, where it is explained: a block of threads for each replica.
 *
 * A thread has units i, i + blockDim.x, ... to itself; only the mean over units needs the others.
 */

/* number, sigma and sigma_prime are put here */

#ifndef THREADS
#define THREADS 256 /* a power of two; launch with as many */
#endif

/* value has room for one number a unit and replica; a and noise may be null */
KERNEL recursion(int steps, int units, number *Z, const number *G, const number *y, const number *gain, const double *shrink,
                 double *a, const number *noise, number *errors, number *value) {
    SHARED number part[THREADS];
    const int me = threadIdx.x;
    const long long n = units, replica = blockIdx.x;
    Z += replica * steps * n;
    G += replica * steps * steps;
    y += replica * steps;
    errors += replica * steps;
    value += replica * n;
    if (a) a += replica * n;
    if (noise) noise += replica * steps * n;
    for (int k = 0; k < steps; k++) {
        number *row = Z + k * n, sum = 0;
        const number *gram = G + (long long)k * steps;
        for (long long i = me; i < n; i += THREADS) {
            number z = row[i];
            for (int j = 0; j < k; j++) z += gram[j] * Z[j * n + i];
            value[i] = sigma(z);
            row[i] = sigma_prime(z);
            sum += a ? (number)a[i] * value[i] : value[i];
        }
        part[me] = sum;
        for (int half = THREADS / 2; half > 0; half /= 2) {
            BARRIER;
            if (me < half) part[me] += part[me + half];
        }
        BARRIER;
        const number error = y[k] - part[0] / (number)units;
        BARRIER; /* part is written to again below */
        const number push = gain[k] * error;
        if (me == 0) errors[k] = error;
        for (long long i = me; i < n; i += THREADS) {
            row[i] *= a ? push * (number)a[i] : push;
            if (a) a[i] = shrink[k] * a[i] + push * value[i] + (noise ? noise[k * n + i] : (number)0);
        }
    }
}
