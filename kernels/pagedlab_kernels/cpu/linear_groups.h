/* Weights in 4 bits, or 8, in groups: GROUP weights that follow each other in a row share two numbers, and
 * w = scale * code + least, where code is a whole number from 0 on. In 8 bits the least value is -128 scales. Files of
 * llama.cpp hold such groups (Q4_1, Q4_0, Q8_0), and panels hold what the file holds.
 *
 * The idea. A float is made of every weight, just before it is multiplied with, and sums are as linear.c makes them.
 * The product scale * code has so few bits that it is exact, so the float is the one that the weight is everywhere
 * else, and a result is, bit for bit, what panels in float32 would give. Only less is read: 5 bits a weight, or 8.5.
 * Of few rows, that is; where many meet a panel, it is made floats once for all of them.
 *
 * Of each group a panel holds
 *
 *        scales         least values, if 4 bits     words: in each, an output's next 8 weights (4, if 8 bits)
 *        PANEL float16  PANEL float16               GROUP * bits / 32 x PANEL of 32 bits
 *
 * and one load brings words of LANES outputs. A code is not shifted to the bottom of its word: where it lies it means
 * 2^n times as much, and meets a scale that is 2^n times as small, which is exact as well.
 */
#include "panels.h"

#define GROUP 32
#define HALF 16 /* bits of a word: codes of the lower half stay where they are, those of the upper are moved there */

INLINE int64_t words_at(const int bits) { return PANEL * (bits == 4 ? 4 : 2); }
INLINE int64_t group_bytes(const int bits) { return words_at(bits) + PANEL * GROUP * bits / 8; }

INLINE ivec load_words(const uint8_t *p) { return (ivec)load((const float *)p); }

/* What the weights of a group have in common, of LANES outputs. */
typedef struct {
    vec scales[HALF / 4], least; /* scales: of codes at bit 0 of a half, at bit `bits` … */
} Shared;

INLINE Shared shared_at(const int bits, const uint8_t *group) {
    Shared shared;
    shared.scales[0] = from_float16(load_halves(group));
    for (int n = 1; n < HALF / bits; n++) shared.scales[n] = shared.scales[0] * (1.0f / (1 << bits * n));
    shared.least = bits == 4 ? from_float16(load_halves(group + PANEL * 2)) : shared.scales[0] * -128;
    return shared;
}

/* Code `n` of each lower half, as the weight that it stands for. */
INLINE vec weights_in(const int bits, const Shared *shared, ivec words, const int n) {
    const ivec codes = words & ((1 << bits) - 1) << bits * n;
    return shared->least + shared->scales[n] * __builtin_convertvector(codes, vec);
}

/* What `multiply` does (linear.c). */
INLINE void multiply_groups(const int bits, const int count, const int panels, const Product *a, const uint8_t *weights,
                            int64_t row, int64_t panel) {
    const int64_t in = a->matrix->in, step = group_bytes(bits), size = in / GROUP * step;
    vec sums[ROWS][2 * WIDE];
    for (int r = 0; r < count; r++)
        for (int i = 0; i < panels * WIDE; i++) sums[r][i] = splat(0);
    const float *x = a->x + row * a->x_stride;
    for (int64_t g = 0; g < in / GROUP; g++, weights += step) {
        Shared shared[2 * WIDE];
        for (int i = 0; i < panels * WIDE; i++)
            shared[i] = shared_at(bits, weights + i / WIDE * size + i % WIDE * LANES * 2);
        for (int word = 0; word < GROUP * bits / 32; word++) {
            ivec words[2 * WIDE];
            for (int p = 0; p < panels; p++) {
                const uint8_t *at = weights + p * size + words_at(bits) + word * PANEL * 4;
                ask_for(at + AHEAD, 1);
                for (int i = 0; i < WIDE; i++) words[p * WIDE + i] = load_words(at + i * LANES * 4);
            }
            for (int half = 0; half < 2; half++) {
#pragma GCC unroll 4
                for (int n = 0; n < HALF / bits; n++, x++) {
                    vec w[2 * WIDE];
                    for (int i = 0; i < panels * WIDE; i++) w[i] = weights_in(bits, shared + i, words[i], n);
                    for (int r = 0; r < count; r++)
                        for (int i = 0; i < panels * WIDE; i++) sums[r][i] += w[i] * x[r * a->x_stride];
                }
                for (int i = 0; i < panels * WIDE; i++) words[i] >>= HALF;
            }
        }
    }
    for (int r = 0; r < count; r++)
        for (int i = 0; i < panels * WIDE; i++) finish(a, sums[r][i], row + r, panel * PANEL + i * LANES);
}

/* A panel as float32 has it, [in, PANEL]. */
INLINE void unpack_panel(const int bits, const uint8_t *weights, int64_t in, float *out) {
    for (int64_t g = 0; g < in / GROUP; g++, weights += group_bytes(bits), out += GROUP * PANEL)
        for (int i = 0; i < PANEL; i += LANES) {
            const Shared shared = shared_at(bits, weights + i * 2);
            float *o = out + i;
            for (int word = 0; word < GROUP * bits / 32; word++) {
                ivec words = load_words(weights + words_at(bits) + (word * PANEL + i) * 4);
                for (int half = 0; half < 2; half++, words >>= HALF)
                    for (int n = 0; n < HALF / bits; n++, o += PANEL) store(o, weights_in(bits, &shared, words, n));
            }
        }
}
