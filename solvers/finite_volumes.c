/* The loops over cells and facets of solvers/finite_volumes.py, where formulas and arrays are explained,
 * and over products of solvers/propagator.py. */

#include <math.h>
#include <stdint.h>

#define EMPTY 1e-290   /* a rate of mass that counts as none: its reciprocal is still finite */
#define MOST_KAPPA 2.0 /* rho_c may be twice the donor's density: then the reconstruction is >= 0 on its far side */
#define LEAST_KAPPA 0.5 /* and half of it: in a steeper front the reconstruction would hold mass back for a whole step */

typedef struct { /* of this rank; the arrays of all cells also hold the neighbours on other ranks */
    int32_t own, all;
    double beta, negligible;
    double *volumes, *masses, *psi, *rho, *log_rho, *leaving;
} Cells;

typedef struct { /* what belongs to one axis: facets, neighbours of the cells, and what is computed of them */
    int32_t facets;
    int32_t *left, *right;
    double *area_left, *area_right, *log_ratio;
    double *hop_left, *hop_right;
    double *reach_left, *reach_right;
    int32_t *into_right, *into_left, *at_left, *at_right;
    int32_t *below, *above;
    double *gap_below, *gap_above;
    double *slope, *rightwards, *leftwards;
} Axis;

static double smaller(double a, double b) { return a < b ? a : b; }
static double larger(double a, double b) { return a > b ? a : b; }

/* B(z) = z/(e^z - 1) for z >= 0, to rounding; at 700 it has fallen to 1e-301. */
double bernoulli(double z) {
    z = smaller(z, 700.0);
    return z > 0.0 ? z / expm1(z) : 1.0;
}

/* rho holds masses and becomes the density; its logarithm; nothing leaves yet. */
void begin(Cells *cells) {
    for (int32_t i = 0; i < cells->all; i++) {
        cells->rho[i] /= cells->volumes[i];
        cells->log_rho[i] = log(larger(cells->rho[i], EMPTY));
        cells->leaving[i] = 0.0;
    }
}

/* The slope along an axis by van Leer's monotonised central difference; 0 at an extremum and at the boundary. */
void limited_slope(Cells *cells, Axis *axis) {
    double *rho = cells->rho;
    for (int32_t i = 0; i < cells->own; i++) {
        double gap_a = axis->gap_below[i], gap_b = axis->gap_above[i];
        double a = (rho[i] - rho[axis->below[i]]) / gap_a, b = (rho[axis->above[i]] - rho[i]) / gap_b;
        double central = (a * gap_b + b * gap_a) / (gap_a + gap_b);
        double bound = 2.0 * smaller(fabs(a), fabs(b));
        axis->slope[i] = a * b > 0.0 ? larger(-bound, smaller(central, bound)) : 0.0;
    }
}

/* k(L -> R) and k(R -> L) of the facets of an axis; adds to the rates at which cells are left. */
void rates(Cells *cells, Axis *axis) {
    double beta = cells->beta, *rho = cells->rho;
    int noisy = isfinite(beta);
    for (int32_t f = 0; f < axis->facets; f++) {
        int32_t left = axis->left[f], right = axis->right[f];
        double climb = cells->psi[right] - cells->psi[left], height = fabs(climb);
        /* B over beta, which has a limit without noise; B(-z) = B(z) + z is a sum of positive numbers */
        double up = noisy ? bernoulli(beta * height) / beta : 0.0, down = up + height;
        double out = axis->area_left[f] * (climb > 0.0 ? up : down);
        double back = axis->area_right[f] * (climb > 0.0 ? down : up);
        double outflow = out * rho[left], inflow = back * rho[right], flow = larger(outflow, inflow);
        double kappa = 1.0;
        if (flow > EMPTY) {
            double descent = height;
            if (noisy) { /* X/(1 - e^(-X)) = B(X) + X, over beta */
                /* in logarithms: the smaller of the flows may be below the smallest float64 */
                double X = fabs(cells->log_rho[left] - cells->log_rho[right] + axis->log_ratio[f] - beta * climb);
                descent = (bernoulli(X) + X) / beta;
            }
            double face = outflow > inflow ? rho[left] + axis->slope[left] * axis->reach_left[f]
                                           : rho[right] + axis->slope[right] * axis->reach_right[f];
            /* where the area throttles a strong drift towards r = 0, rates may rise to what they are without it,
               and fall to that where it speeds one up */
            double plain = down / larger(larger(out, back), EMPTY);
            double most = MOST_KAPPA * larger(1.0, plain), least = LEAST_KAPPA * smaller(1.0, plain);
            kappa = larger(least, smaller(face * descent / flow, most));
        }
        axis->rightwards[f] = kappa * out * axis->hop_left[f];
        axis->leftwards[f] = kappa * back * axis->hop_right[f];
        cells->leaving[left] += axis->rightwards[f];
        cells->leaving[right] += axis->leftwards[f];
    }
}

/* The fastest rate at which a cell is left that holds more than next to nothing. */
double fastest_rate(Cells *cells) {
    double fastest = 0.0;
    for (int32_t i = 0; i < cells->own; i++)
        if (cells->masses[i] > cells->negligible) fastest = larger(cells->leaving[i], fastest);
    return fastest;
}

/* The factors that bring the rates at which cells are left down to that one; they take the place of psi. */
void slow_down(Cells *cells, double fastest) {
    for (int32_t i = 0; i < cells->own; i++) {
        double leaving = cells->leaving[i];
        cells->psi[i] = fastest > 0.0 && leaving > fastest ? fastest / leaving : 1.0;
    }
}

/* Both rates of every facet of an axis, by the smaller factor of its cells, into the matrix. */
void fill(Cells *cells, Axis *axis, double *data) {
    for (int32_t f = 0; f < axis->facets; f++) {
        double factor = smaller(cells->psi[axis->left[f]], cells->psi[axis->right[f]]);
        double rightwards = factor * axis->rightwards[f], leftwards = factor * axis->leftwards[f];
        data[axis->into_right[f]] = rightwards;
        data[axis->into_left[f]] = leftwards;
        data[axis->at_left[f]] -= rightwards;
        data[axis->at_right[f]] -= leftwards;
    }
}

/* sum_k weights_k T^k masses by Horner's rule, T in compressed rows, into x. */
void polynomial(int32_t rows, int64_t *starts, int32_t *columns, double *data, double *masses,
                int32_t terms, double *weights, double *x, double *other) {
    for (int32_t i = 0; i < rows; i++) x[i] = weights[terms - 1] * masses[i];
    for (int32_t k = terms - 2; k >= 0; k--) {
        for (int32_t i = 0; i < rows; i++) {
            double sum = weights[k] * masses[i];
            for (int64_t j = starts[i]; j < starts[i + 1]; j++) sum += data[j] * x[columns[j]];
            other[i] = sum;
        }
        double *swap = x;
        x = other;
        other = swap;
    }
    if (terms % 2 == 0) /* after an odd number of swaps x is what the caller calls other */
        for (int32_t i = 0; i < rows; i++) other[i] = x[i];
}
