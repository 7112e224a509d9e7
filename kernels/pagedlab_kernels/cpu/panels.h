/* What products with panels have in common, whatever the format (linear.c, linear_int8.h, linear_groups.h). */
#pragma once
#include "kernels.h"

#define PANEL 16 /* outputs: two vectors of 8 lanes */
#define WIDE (PANEL / LANES)
#define AHEAD 4096 /* bytes of a panel that are asked for before they are needed */
#define ROWS 6   /* rows of x that share registers: 6 * 2 sums, 2 vectors of weights, 1 number of x */

typedef struct {
    const Matrix *matrix;
    const float *x; /* [rows, in], a row every x_stride floats */
    float *out;     /* [rows, outputs] */
    int64_t rows, x_stride;
    int add;        /* to what is in out */
    int16_t *codes; /* of x, where weights have 8 bits: [rows, in], */
    float *steps;   /* [rows, blocks] */
    float *floats;  /* room for panels that were in groups, [threads, 2, in, PANEL]; NULL for few rows */
} Product;

/* LANES outputs of a row, from `output` on. */
INLINE void finish(const Product *a, vec sum, int64_t row, int64_t output) {
    const Matrix *m = a->matrix;
    float *out = a->out + row * m->outputs + output;
    if (m->scales) sum *= load(m->scales + output);
    if (m->bias) sum += load(m->bias + output);
    if (a->add) sum += load(out);
    store(out, sum);
}
