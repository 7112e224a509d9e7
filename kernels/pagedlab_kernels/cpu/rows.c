/* What a layer does to each row by itself: normalise, rotate and store, gate.
 *
 * The idea. None of it is much arithmetic, and all of it is many small steps: in eager torch a layer takes some twenty
 * calls for it, each of which costs more than its numbers when there are few rows. Here it is one call for each, and a
 * number that has been read is done with before the next one is read.
 *
 * Results go where they are needed: keys and values into the slots of their pages.
 */
#include <omp.h>

#include <string.h>

#include "kernels.h"

#define WORTH_WAKING (1 << 15) /* numbers from which a second thread saves more time than it takes to wake it */

/* out = x / sqrt(mean(x^2) + eps) * (weight + offset), for rows of `dim` numbers. */
void rms_norm(const float *x, int64_t x_stride, const float *weight, float offset, float eps, float *out, int64_t rows,
              int64_t dim, int num_threads) {
#pragma omp parallel for num_threads(num_threads) if (rows * dim > WORTH_WAKING)
    for (int64_t row = 0; row < rows; row++) {
        const float *in = x + row * x_stride;
        vec squares = splat(0);
        int64_t d = 0;
        for (; d + LANES <= dim; d += LANES) squares += load(in + d) * load(in + d);
        float sum = total(squares);
        for (; d < dim; d++) sum += in[d] * in[d];
        const float factor = 1 / sqrtf(sum / (float)dim + eps);
        for (d = 0; d + LANES <= dim; d += LANES)
            store(out + row * dim + d, load(in + d) * factor * (load(weight + d) + offset));
        for (; d < dim; d++) out[row * dim + d] = in[d] * factor * (weight[d] + offset);
    }
}

/* Each pair (x[i], x[i + D / 2]) turned by its angle. */
INLINE void rotate(const float *x, const float *cosine, const float *sine, int64_t half, float *out) {
    int64_t d = 0;
    for (; d + LANES <= half; d += LANES) {
        const vec a = load(x + d), b = load(x + half + d), c = load(cosine + d), s = load(sine + d);
        store(out + d, a * c - b * s);
        store(out + half + d, b * c + a * s);
    }
    for (; d < half; d++) {
        const float a = x[d], b = x[half + d];
        out[d] = a * cosine[d] - b * sine[d];
        out[half + d] = b * cosine[d] + a * sine[d];
    }
}

/* Queries are rotated; keys are rotated, and go with their values into their slots. Returns 1, and does nothing, if a
 * slot is not in the pool. */
int rotate_and_write(const Placing *a, int num_threads) {
    const int64_t dim = a->head_dim, half = dim / 2, size = a->num_pages * a->num_kv_heads * a->page_size * dim;
    for (int64_t t = 0; t < a->num_tokens; t++)
        if (a->slots[t] < 0 || a->slots[t] >= a->num_pages * a->page_size) return 1;
#pragma omp parallel for num_threads(num_threads) if (a->num_tokens * a->num_heads * dim > WORTH_WAKING)
    for (int64_t t = 0; t < a->num_tokens; t++) {
        const float *c = a->cosine + t * half, *s = a->sine + t * half;
        for (int64_t h = 0; h < a->num_heads; h++)
            rotate(a->q + t * a->q_stride + h * dim, c, s, half, a->rotated + (t * a->num_heads + h) * dim);
        const int64_t page = a->slots[t] / a->page_size, offset = a->slots[t] % a->page_size;
        for (int64_t h = 0; h < a->num_kv_heads; h++) {
            float *key = a->kv + ((page * a->num_kv_heads + h) * a->page_size + offset) * dim;
            rotate(a->k + t * a->k_stride + h * dim, c, s, half, key);
            memcpy(key + size, a->v + t * a->v_stride + h * dim, sizeof(float) * (size_t)dim);
        }
    }
    return 0;
}

/* 1 / (1 + exp(-x)), without an exponential of a large number. */
INLINE vec sigmoid(vec x) {
    const ivec negative = x < splat(0);
    const vec small = exp_vec(choose(negative, x, -x));
    return choose(negative, small, splat(1)) / (1 + small);
}

/* SiLU is x * sigmoid(x). GELU by its tanh is x * (1 + tanh(z)) / 2, which is x * sigmoid(2 z). */
INLINE vec activated(vec x, int gelu) {
    return x * sigmoid(gelu ? 1.5957691216f * (x + 0.044715f * x * x * x) : x);
}

/* out = activation(gate) * up, for rows of `dim` numbers. */
void gated(const float *gate, const float *up, int64_t stride, int64_t gelu, float *out, int64_t rows, int64_t dim,
           int num_threads) {
#pragma omp parallel for num_threads(num_threads) if (rows * dim > WORTH_WAKING)
    for (int64_t row = 0; row < rows; row++) {
        const float *g = gate + row * stride, *u = up + row * stride;
        float *o = out + row * dim;
        int64_t d = 0;
        for (; d + LANES <= dim; d += LANES) store(o + d, activated(load(g + d), (int)gelu) * load(u + d));
        for (; d < dim; d++) o[d] = activated(splat(g[d]), (int)gelu)[0] * u[d];
    }
}
