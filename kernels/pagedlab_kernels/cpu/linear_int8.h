/* x · Wᵀ where W is kept in 8 bits: whole numbers are multiplied and added up as whole numbers.
 *
 * The idea. To make a float of every weight takes more instructions than to multiply with it, and a core would be at
 * work for twice as long as memory takes to bring it a byte. So it is x that is changed, and once for all of W: every
 * BLOCK of its numbers is rounded to 16 bits, to multiples of a step of its own, its largest number over 32767. Then
 * products are made in pairs, which takes a processor one or two instructions for LANES outputs:
 *
 *        k, k + 1 ┌──────────────────┐      sums[o] += w[o][k] * x[k] + w[o][k + 1] * x[k + 1]
 *                 │ ww ww ww ww … ww │
 *                 └──────────────────┘      and so panels keep pairs of weights side by side:
 *          panel: in / 2 x PANEL x 2        [outputs / PANEL, in / 2, PANEL, 2].
 *
 * A block's sum fits 32 bits, BLOCK * 127 * 32767 < 2^31, and is exact. Then the block's step makes a float of it, and
 * floats are added up block after block: the same for a row whoever is beside it.
 *
 * What it costs. Rounding x moves a number by 2^-16 of its block's largest at most; rounding W to 8 bits has moved each
 * weight by up to 2^-8 of its row's largest.
 */
#include "panels.h"

#define BLOCK 64   /* numbers of x that share a step */
#define LEAST 1e-30f /* a block of smaller numbers is taken for 0: their inverse could not be told from infinity */

INLINE int64_t num_blocks(const Matrix *m) { return (m->in + BLOCK - 1) / BLOCK; }

/* Of LANES outputs, the weights of k and k + 1. */
typedef int16_t pairs __attribute__((vector_size(4 * LANES)));

INLINE pairs pairs_at(const uint8_t *p) {
#ifdef X86
    return (pairs)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
#else
    pairs w;
    for (int i = 0; i < 2 * LANES; i++) w[i] = (int8_t)p[i];
    return w;
#endif
}

/* sums + the products of each output's weights with the two numbers in x. */
INLINE ivec add_products(ivec sums, pairs w, int32_t x) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return (ivec)_mm256_dpwssd_epi32((__m256i)sums, (__m256i)w, _mm256_set1_epi32(x));
#elif defined(X86)
    return sums + (ivec)_mm256_madd_epi16((__m256i)w, _mm256_set1_epi32(x));
#else
    int16_t two[2];
    memcpy(two, &x, sizeof two);
    for (int i = 0; i < LANES; i++) sums[i] += w[2 * i] * two[0] + w[2 * i + 1] * two[1];
    return sums;
#endif
}

/* What `multiply` does (linear.c). */
INLINE void multiply_int8(const int count, const int panels, const Product *a, const uint8_t *weights, int64_t row,
                          int64_t panel) {
    const Matrix *m = a->matrix;
    const int64_t blocks = num_blocks(m), all_pairs = m->in / 2, size = m->in * PANEL;
    vec totals[ROWS][2 * WIDE];
    for (int r = 0; r < count; r++)
        for (int i = 0; i < panels * WIDE; i++) totals[r][i] = splat(0);
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t first = block * BLOCK / 2, last = first + BLOCK / 2 < all_pairs ? first + BLOCK / 2 : all_pairs;
        ivec sums[ROWS][2 * WIDE];
        for (int r = 0; r < count; r++)
            for (int i = 0; i < panels * WIDE; i++) sums[r][i] = (ivec){0};
        for (int64_t k = first; k < last; k++) {
            pairs w[2 * WIDE];
            for (int p = 0; p < panels; p++) {
                const uint8_t *at = weights + p * size + k * 2 * PANEL;
                ask_for(at + AHEAD, 1);
                for (int i = 0; i < WIDE; i++) w[p * WIDE + i] = pairs_at(at + i * 2 * LANES);
            }
            for (int r = 0; r < count; r++) {
                int32_t x;
                memcpy(&x, a->codes + (row + r) * m->in + 2 * k, sizeof x);
                for (int i = 0; i < panels * WIDE; i++) sums[r][i] = add_products(sums[r][i], w[i], x);
            }
        }
        for (int r = 0; r < count; r++)
            for (int i = 0; i < panels * WIDE; i++)
                totals[r][i] += __builtin_convertvector(sums[r][i], vec) * a->steps[(row + r) * blocks + block];
    }
    for (int r = 0; r < count; r++)
        for (int i = 0; i < panels * WIDE; i++) finish(a, totals[r][i], row + r, panel * PANEL + i * LANES);
}

/* A row of x, rounded. What is not a number, or infinite, makes all outputs so. */
static void do_round(const void *work, int64_t row, int thread) {
    (void)thread;
    const Product *a = work;
    const int64_t in = a->matrix->in, blocks = num_blocks(a->matrix);
    for (int64_t block = 0; block < blocks; block++) {
        const float *x = a->x + row * a->x_stride + block * BLOCK;
        int16_t *codes = a->codes + row * in + block * BLOCK;
        const int count = (int)(block + 1 < blocks ? BLOCK : in - block * BLOCK);
        vec largest = splat(0), wrong = splat(0);
        int k = 0;
        for (; k + LANES <= count; k += LANES) {
            const vec size = (vec)((ivec)load(x + k) & 0x7fffffff);
            largest = choose(size > largest, size, largest);
            wrong += size * 0;
        }
        float most = 0, poison = total(wrong);
        for (int i = 0; i < LANES; i++) most = largest[i] > most ? largest[i] : most;
        for (; k < count; k++) most = fabsf(x[k]) > most ? fabsf(x[k]) : most, poison += x[k] * 0;
        a->steps[row * blocks + block] = most / 32767 + poison;
        /* Added to 1.5 * 2^23, a number is rounded to a whole one, which is then in the lowest bits. */
        const float to_codes = most > LEAST ? 32767 / most : 0;
        for (k = 0; k < count; k++) {
            const float shifted = x[k] * to_codes + 12582912.0f;
            int32_t bits;
            memcpy(&bits, &shifted, sizeof bits);
            codes[k] = (int16_t)bits;
        }
    }
}
