/* What a layer does to each row by itself: normalise, rotate and store, gate.
 *
 * The idea. None of it is much arithmetic, and all of it is many small steps: in eager torch a layer takes some twenty
 * calls for it, each of which costs more than its numbers when there are few rows. Here it is one call for each, and a
 * number that has been read is done with before the next one is read.
 *
 * Results go where they are needed: keys and values into the slots of their pages, in the format that is kept there.
 */

#include "kernels.h"

#define ROWS 16 /* of an item: what a thread takes at a time */

INLINE int64_t num_items(int64_t rows) { return (rows + ROWS - 1) / ROWS; }
INLINE int64_t first_row(int64_t item) { return item * ROWS; }
INLINE int64_t last_row(int64_t item, int64_t rows) { return item * ROWS + ROWS < rows ? item * ROWS + ROWS : rows; }

/* A vector over the root of its mean square. */
INLINE void normalise(const float *in, const float *weight, float offset, float eps, int64_t dim, float *out) {
    vec squares = splat(0);
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES) squares += load(in + d) * load(in + d);
    float sum = total(squares);
    for (; d < dim; d++) sum += in[d] * in[d];
    const float factor = 1 / sqrtf(sum / (float)dim + eps);
    for (d = 0; d + LANES <= dim; d += LANES) store(out + d, load(in + d) * factor * (load(weight + d) + offset));
    for (; d < dim; d++) out[d] = in[d] * factor * (weight[d] + offset);
}

typedef struct {
    const float *x, *weight;
    float *out, offset, eps;
    int64_t x_stride, rows, dim;
} Norm;

static void do_norm(const void *work, int64_t item, int thread) {
    (void)thread;
    const Norm *a = work;
    for (int64_t row = first_row(item); row < last_row(item, a->rows); row++)
        normalise(a->x + row * a->x_stride, a->weight, a->offset, a->eps, a->dim, a->out + row * a->dim);
}

void rms_norm(const float *x, int64_t x_stride, const float *weight, float offset, float eps, float *out, int64_t rows,
              int64_t dim, int num_threads) {
    const Norm a = {x, weight, out, offset, eps, x_stride, rows, dim};
    share_out(num_items(rows), num_threads, do_norm, &a);
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

static void do_rotate_and_write(const void *work, int64_t item, int thread) {
    (void)thread;
    const Placing *a = work;
    const int64_t dim = a->head_dim, half = dim / 2, keys = a->num_pages * a->num_kv_heads * a->page_size;
    float normed[dim], turned[dim];
    for (int64_t t = first_row(item); t < last_row(item, a->num_tokens); t++) {
        const float *c = a->cosine + t * half, *s = a->sine + t * half;
        for (int64_t h = 0; h < a->num_heads; h++) {
            const float *q = a->q + t * a->q_stride + h * dim;
            if (a->q_norm) normalise(q, a->q_norm, a->norm_offset, a->eps, dim, normed), q = normed;
            rotate(q, c, s, half, a->rotated + (t * a->num_heads + h) * dim);
        }
        const int64_t page = a->slots[t] / a->page_size, offset = a->slots[t] % a->page_size;
        for (int64_t h = 0; h < a->num_kv_heads; h++) {
            const float *k = a->k + t * a->k_stride + h * dim;
            const int64_t key = (page * a->num_kv_heads + h) * a->page_size + offset;
            if (a->k_norm) normalise(k, a->k_norm, a->norm_offset, a->eps, dim, normed), k = normed;
            rotate(k, c, s, half, turned);
            narrow(&a->kv, key, (int)dim, turned);
            narrow(&a->kv, keys + key, (int)dim, a->v + t * a->v_stride + h * dim);
        }
    }
}

/* Queries are normalised and rotated; so are keys, and go with their values into their slots. Returns BAD_SLOT, and does
 * nothing, if one is not in the pool. */
int rotate_and_write(const Placing *a, int num_threads) {
    for (int64_t t = 0; t < a->num_tokens; t++)
        if (a->slots[t] < 0 || a->slots[t] >= a->num_pages * a->page_size) return BAD_SLOT;
    share_out(num_items(a->num_tokens), num_threads, do_rotate_and_write, a);
    return DONE;
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

typedef struct {
    const float *gate, *up;
    float *out;
    int64_t stride, gelu, rows, dim;
} Gate;

static void do_gate(const void *work, int64_t item, int thread) {
    (void)thread;
    const Gate *a = work;
    for (int64_t row = first_row(item); row < last_row(item, a->rows); row++) {
        const float *g = a->gate + row * a->stride, *u = a->up + row * a->stride;
        float *o = a->out + row * a->dim;
        int64_t d = 0;
        for (; d + LANES <= a->dim; d += LANES) store(o + d, activated(load(g + d), (int)a->gelu) * load(u + d));
        for (; d < a->dim; d++) o[d] = activated(splat(g[d]), (int)a->gelu)[0] * u[d];
    }
}

/* out = activation(gate) * up, for rows of `dim` numbers. */
void gated(const float *gate, const float *up, int64_t stride, int64_t gelu, float *out, int64_t rows, int64_t dim,
           int num_threads) {
    const Gate a = {gate, up, out, stride, gelu, rows, dim};
    share_out(num_items(rows), num_threads, do_gate, &a);
}
