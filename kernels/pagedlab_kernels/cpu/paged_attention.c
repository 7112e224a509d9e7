/* Attention over pages on a CPU: keys and values are read where they lie, nothing is gathered.
 *
 * The idea. A work item is one KV head of one sequence and a block of its query rows. All G query heads of the rows in
 * the block read the same keys and values, so a tile of TILE tokens is brought into the first-level cache once and used
 * by rows * G query vectors. Softmax is computed online (Milakov & Gimelshein, arXiv:1805.02867): each query vector
 * keeps the largest score so far, the sum of exponentials relative to it, and a weighted sum of values that is rescaled
 * when a larger score turns up.
 *
 * A tile is a list of pointers, one a token, made from the page table. So any page size works: a tile may be a part of a
 * large page or span many small ones.
 *
 * What must move: 2 * 4 * D bytes a token and KV head. With G = 3 query heads a token costs 4 * 3 * D FLOPs for them:
 * decode is bound by memory, and the inner loops only have to keep up with it. When there are fewer items than threads
 * can use, contexts are split, and the parts are merged by their sums (split-KV, as in Flash-Decoding).
 *
 * The vector type is GCC's and Clang's own: the compiler lowers it to whatever the machine has.
 */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TILE 32    /* tokens handled at a time: a multiple of LANES */
#define LANES 8    /* floats in a vector */
#define ROWS 16    /* query rows of one work item */
#define VECTORS 4  /* query vectors that share registers in the inner loops */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float loose_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

typedef struct {
    const float *q, *k, *v; /* q [T, H, D]; k and v [N, Hkv, P, D] */
    float *out;             /* [T, H, D] */
    const int32_t *tables, *query_start, *context_lens;
    int64_t table_stride, num_sequences, num_heads, num_kv_heads, head_dim, page_size;
    float scale;
} Attention;

typedef struct {
    int64_t sequence, kv_head, first_row, last_row; /* rows of q */
} Item;

/* What is known of up to `room` query vectors after some of their tokens; acc is not divided by sum yet. */
typedef struct {
    float *max, *sum; /* [room] */
    float *acc;       /* [room, D] */
} Partial;

/* Partial results lie one after the other. */
static inline Partial partial_at(float *memory, int64_t index, int64_t room, int64_t dim) {
    float *at = memory + index * room * (2 + dim);
    return (Partial){at, at + room, at + 2 * room};
}

static inline vec load(const float *p) { return *(const loose_vec *)p; }
static inline void store(float *p, vec x) { *(loose_vec *)p = x; }
static inline vec splat(float x) { return (vec){x, x, x, x, x, x, x, x}; }

static inline float total(vec x) {
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

/* exp(x) for x <= 0, to 2 units in the last place: 2^n * p(r), with p the polynomial of Cephes' expf. */
static inline vec exp_vec(vec x) {
    const ivec in_range = x > splat(-87.0f);
    x = (vec)((in_range & (ivec)x) | (~in_range & (ivec)splat(-87.0f)));
    const vec shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer in the low bits */
    const vec n = shifted - 12582912.0f;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const vec power = (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
    return (vec)(in_range & (ivec)(p * power));
}

/* scores[m][t] = q[m] . keys[t], for `count` query vectors and `tokens` tokens, two tokens at a time. */
static inline __attribute__((always_inline)) void dot_products(
    const int count, const float *const *q, const float *const *keys, int tokens, int dim, float scores[][TILE]) {
    for (int t = 0; t < tokens; t += 2) {
        const float *k0 = keys[t], *k1 = keys[t + 1 < tokens ? t + 1 : t];
        vec s0[VECTORS], s1[VECTORS];
        for (int m = 0; m < count; m++) s0[m] = s1[m] = splat(0);
        int d = 0;
        for (; d + LANES <= dim; d += LANES) {
            const vec a = load(k0 + d), b = load(k1 + d);
            for (int m = 0; m < count; m++) {
                const vec x = load(q[m] + d);
                s0[m] += x * a;
                s1[m] += x * b;
            }
        }
        for (int m = 0; m < count; m++) {
            float x0 = total(s0[m]), x1 = total(s1[m]);
            for (int rest = d; rest < dim; rest++) {
                x0 += q[m][rest] * k0[rest];
                x1 += q[m][rest] * k1[rest];
            }
            scores[m][t] = x0;
            if (t + 1 < tokens) scores[m][t + 1] = x1;
        }
    }
}

/* acc[m] = acc[m] * rescale[m] + sum over t of weights[m][t] * values[t], two vectors of D at a time. */
static inline __attribute__((always_inline)) void weighted_sums(
    const int count, float weights[][TILE], const float *rescale, const float *const *values, int tokens, int dim,
    float *const *acc) {
    int d = 0;
    for (; d + 2 * LANES <= dim; d += 2 * LANES) {
        vec a[VECTORS], b[VECTORS];
        for (int m = 0; m < count; m++) {
            a[m] = load(acc[m] + d) * rescale[m];
            b[m] = load(acc[m] + d + LANES) * rescale[m];
        }
        for (int t = 0; t < tokens; t++) {
            const vec v0 = load(values[t] + d), v1 = load(values[t] + d + LANES);
            for (int m = 0; m < count; m++) {
                a[m] += v0 * weights[m][t];
                b[m] += v1 * weights[m][t];
            }
        }
        for (int m = 0; m < count; m++) {
            store(acc[m] + d, a[m]);
            store(acc[m] + d + LANES, b[m]);
        }
    }
    for (; d < dim; d++)
        for (int m = 0; m < count; m++) {
            float a = acc[m][d] * rescale[m];
            for (int t = 0; t < tokens; t++) a += weights[m][t] * values[t][d];
            acc[m][d] = a;
        }
}

/* Turn scores into weights relative to the new maximum; a token past `visible` weighs nothing. Returns the rescaling. */
static inline float softmax_step(float *scores, int tokens, int visible, float scale, float *max, float *sum) {
    float largest = *max;
    for (int t = 0; t < tokens; t++) {
        scores[t] = t < visible ? scores[t] * scale : -INFINITY;
        if (scores[t] > largest) largest = scores[t];
    }
    for (int t = tokens; t % LANES; t++) scores[t] = -INFINITY;
    vec mass = splat(0);
    for (int t = 0; t < tokens; t += LANES) {
        const vec weight = exp_vec(load(scores + t) - largest);
        store(scores + t, weight);
        mass += weight;
    }
    const float rescale = expf(*max - largest);
    *sum = *sum * rescale + total(mass);
    *max = largest;
    return rescale;
}

/* One tile for `count` <= VECTORS query vectors; `visible[m]` of its tokens may be seen by vector m. */
static inline __attribute__((always_inline)) void attend_block(
    const int count, const float *const *q, const float *const *keys, const float *const *values, int tokens, int dim,
    float scale, const int *visible, float *const *acc, float *max, float *sum) {
    float scores[VECTORS][TILE], rescale[VECTORS];
    dot_products(count, q, keys, tokens, dim, scores);
    for (int m = 0; m < count; m++) rescale[m] = softmax_step(scores[m], tokens, visible[m], scale, max + m, sum + m);
    weighted_sums(count, scores, rescale, values, tokens, dim, acc);
}

/* Tokens first to last of one item's context, for all its query vectors. */
static void attend(const Attention *a, Item item, int64_t first, int64_t last, Partial partial) {
    const int64_t dim = a->head_dim, group = a->num_heads / a->num_kv_heads, size = a->page_size;
    const int64_t count = (item.last_row - item.first_row) * group;
    const int64_t context = a->context_lens[item.sequence], end_row = a->query_start[item.sequence + 1];
    const int32_t *table = a->tables + item.sequence * a->table_stride;
    memset(partial.acc, 0, sizeof(float) * (size_t)(count * dim));
    for (int64_t m = 0; m < count; m++) {
        partial.max[m] = -INFINITY;
        partial.sum[m] = 0;
    }
    int64_t page = first / size, offset = first % size;
    for (int64_t start = first; start < last; start += TILE) {
        const float *keys[TILE], *values[TILE];
        const int tokens = (int)(last - start < TILE ? last - start : TILE);
        for (int t = 0; t < tokens; t++) {
            const int64_t at = ((table[page] * a->num_kv_heads + item.kv_head) * size + offset) * dim;
            keys[t] = a->k + at;
            values[t] = a->v + at;
            if (++offset == size) {
                offset = 0;
                page++;
            }
        }
        /* The last row of a sequence sees its whole context, each row above it one token less. */
        const int64_t hidden = start - context + end_row - item.first_row; /* rows that see nothing of this tile */
        for (int64_t m = hidden > 0 ? hidden * group : 0; m < count; m += VECTORS) {
            const float *q[VECTORS];
            float *acc[VECTORS];
            int visible[VECTORS];
            const int used = (int)(count - m < VECTORS ? count - m : VECTORS);
            for (int i = 0; i < used; i++) {
                const int64_t row = item.first_row + (m + i) / group;
                const int64_t seen = context - (end_row - 1 - row) - start;
                q[i] = a->q + (row * a->num_heads + item.kv_head * group + (m + i) % group) * dim;
                acc[i] = partial.acc + (m + i) * dim;
                visible[i] = (int)(seen < tokens ? seen : tokens);
            }
            float *max = partial.max + m, *sum = partial.sum + m;
            const int d = (int)dim;
            switch (used) { /* so that the compiler sees the count and keeps all vectors in registers */
                case 4: attend_block(4, q, keys, values, tokens, d, a->scale, visible, acc, max, sum); break;
                case 3: attend_block(3, q, keys, values, tokens, d, a->scale, visible, acc, max, sum); break;
                case 2: attend_block(2, q, keys, values, tokens, d, a->scale, visible, acc, max, sum); break;
                default: attend_block(1, q, keys, values, tokens, d, a->scale, visible, acc, max, sum);
            }
        }
    }
}

/* Merge an item's parts by their sums and write its rows. A part without tokens has sum 0 and weighs nothing. */
static void finish(const Attention *a, Item item, float *memory, int64_t first_part, int64_t num_parts, int64_t room) {
    const int64_t dim = a->head_dim, group = a->num_heads / a->num_kv_heads;
    for (int64_t m = 0; m < (item.last_row - item.first_row) * group; m++) {
        float *out = a->out + ((item.first_row + m / group) * a->num_heads + item.kv_head * group + m % group) * dim;
        float max = -INFINITY, sum = 0;
        for (int64_t i = 0; i < num_parts; i++) {
            const Partial part = partial_at(memory, first_part + i, room, dim);
            if (part.max[m] > max) {
                sum *= expf(max - part.max[m]);
                max = part.max[m];
            }
            if (part.sum[m] > 0) sum += part.sum[m] * expf(part.max[m] - max);
        }
        memset(out, 0, sizeof(float) * (size_t)dim);
        for (int64_t i = 0; i < num_parts; i++) {
            const Partial part = partial_at(memory, first_part + i, room, dim);
            const float weight = part.sum[m] > 0 ? expf(part.max[m] - max) / sum : 0;
            for (int64_t d = 0; d < dim; d++) out[d] += weight * part.acc[m * dim + d];
        }
    }
}

/* Returns 0, or 1 when memory for partial results cannot be had. */
int paged_attention(const Attention *a, int num_threads) {
    int64_t num_items = 0, longest = 0;
    for (int64_t s = 0; s < a->num_sequences; s++) {
        num_items += (a->query_start[s + 1] - a->query_start[s] + ROWS - 1) / ROWS * a->num_kv_heads;
        if (a->context_lens[s] > longest) longest = a->context_lens[s];
    }
    if (num_items == 0) return 0;
    int64_t num_parts = (4 * num_threads + num_items - 1) / num_items;
    if (num_parts > longest / 256) num_parts = longest / 256;
    if (num_threads == 1 || num_parts < 1) num_parts = 1;

    const int64_t room = ROWS * (a->num_heads / a->num_kv_heads);
    Item *items = malloc(sizeof(Item) * (size_t)num_items);
    float *memory = malloc(sizeof(float) * (size_t)(num_items * num_parts * room * (2 + a->head_dim)));
    if (!items || !memory) {
        free(items);
        free(memory);
        return 1;
    }
    int64_t made = 0;
    for (int64_t s = 0; s < a->num_sequences; s++) {
        const int64_t end = a->query_start[s + 1];
        for (int64_t row = a->query_start[s]; row < end; row += ROWS)
            for (int64_t head = 0; head < a->num_kv_heads; head++)
                items[made++] = (Item){s, head, row, row + ROWS < end ? row + ROWS : end};
    }

#pragma omp parallel num_threads(num_threads)
    {
#pragma omp for schedule(dynamic, 1)
        for (int64_t work = 0; work < num_items * num_parts; work++) {
            const Item item = items[work / num_parts];
            /* What the last row of the block sees, in equal parts of whole tiles. */
            const int64_t seen = a->context_lens[item.sequence] - (a->query_start[item.sequence + 1] - item.last_row);
            const int64_t part = (seen + num_parts * TILE - 1) / (num_parts * TILE) * TILE;
            const int64_t first = work % num_parts * part, last = first + part < seen ? first + part : seen;
            attend(a, item, first, last, partial_at(memory, work, room, a->head_dim));
        }
#pragma omp for schedule(static)
        for (int64_t item = 0; item < num_items; item++)
            finish(a, items[item], memory, item * num_parts, num_parts, room);
    }
    free(items);
    free(memory);
    return 0;
}
