/* Vectors of floats, as GCC and Clang have them: the compiler lowers them to whatever the machine has. */
#include <math.h>
#include <stdint.h>

#ifdef __AVX__ /* what the machine has: compilers split longer vectors badly */
#define LANES 8        /* floats in a vector */
#else
#define LANES 4
#endif
#define CACHE_LINE 64  /* bytes */

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float loose_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const loose_vec *)p; }
INLINE void store(float *p, vec x) { *(loose_vec *)p = x; }
INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec choose(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
INLINE float total(vec x) {
    float halves[LANES];
    for (int i = 0; i < LANES; i++) halves[i] = x[i];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) halves[i] += halves[i + half];
    return halves[0];
}

/* The totals of four vectors at once: a third of the instructions of four times `total`. */
#ifdef __clang__
#define PICK(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define PICK(x, y, ...) __builtin_shuffle(x, y, (__typeof__((ivec){0})){__VA_ARGS__})
#endif
typedef float quad __attribute__((vector_size(16)));
#if LANES == 8
INLINE quad totals(vec a, vec b, vec c, vec d) {
    /* a0 + a2, b0 + b2, a1 + a3, b1 + b3, and the same of the upper half; then a, b, c, d of each half */
    const vec ab = PICK(a, b, 0, 8, 1, 9, 4, 12, 5, 13) + PICK(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    const vec cd = PICK(c, d, 0, 8, 1, 9, 4, 12, 5, 13) + PICK(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    const vec halves = PICK(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + PICK(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    quad sums[2];
    __builtin_memcpy(sums, &halves, sizeof sums);
    return sums[0] + sums[1];
}
#else
INLINE quad totals(vec a, vec b, vec c, vec d) {
    const vec ab = PICK(a, b, 0, 4, 1, 5) + PICK(a, b, 2, 6, 3, 7), cd = PICK(c, d, 0, 4, 1, 5) + PICK(c, d, 2, 6, 3, 7);
    return PICK(ab, cd, 0, 1, 4, 5) + PICK(ab, cd, 2, 3, 6, 7);
}
#endif

/* Into the second-level cache (locality 2): in the first, the next tile would push the present one out. */
INLINE void ask_for(const void *p, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += CACHE_LINE) __builtin_prefetch((const char *)p + i, 0, 2);
}

/* exp(x) for x <= 0, to 2 units in the last place: 2^n * p(r), with p the polynomial of Cephes' expf. */
INLINE vec exp_vec(vec x) {
    const ivec vanishes = x < splat(-87.0f);
    const vec shifted = choose(vanishes, splat(0), x) * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds */
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
    return choose(vanishes, splat(0), p * power);
}
