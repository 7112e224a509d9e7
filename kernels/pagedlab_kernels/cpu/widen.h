/* The KV formats of kv_format.py -> float32, one vector of D numbers (key or value of one token and head) at a time. */
#include <string.h>

#include "vectors.h"
#if defined(__AVX2__) && defined(__F16C__) /* compilers do not find these instructions by themselves */
#include <immintrin.h>
#define X86
#endif

typedef enum {
    FLOAT32, BFLOAT16, FLOAT16, INT8, INT4, FP8, /* in the order of KV_DTYPES */
    GROUPS4, GROUPS8                             /* of matrices only (linear_groups.h) */
} Format;

/* All keys and values of one layer, [2, N, Hkv, P] vectors of D numbers. */
typedef struct {
    const uint8_t *numbers;      /* of vector i from numbers + i * stride on */
    const float *scales, *zeros; /* one a vector; NULL if the format has none */
    int64_t stride;              /* bytes */
    int64_t format;
} Store;

typedef uint16_t half_vec __attribute__((vector_size(2 * LANES)));

INLINE half_vec load_halves(const uint8_t *p) {
    half_vec x;
    memcpy(&x, p, sizeof x);
    return x;
}
INLINE ivec from_halves(half_vec x) {
#ifdef X86
    return (ivec)_mm256_cvtepu16_epi32((__m128i)x);
#else
    return __builtin_convertvector(x, ivec);
#endif
}
INLINE half_vec bytes_to_halves(const uint8_t *p) {
#ifdef X86
    return (half_vec)_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p));
#else
    half_vec x;
    for (int i = 0; i < LANES; i++) x[i] = p[i];
    return x;
#endif
}

/* float16: sign, 5 bits of exponent, 10 of mantissa. */
INLINE vec from_float16(half_vec x) {
#ifdef X86
    return (vec)_mm256_cvtph_ps((__m128i)x);
#else
    /* The bits are moved to where float32 has them; the biases of the exponents differ by 127 - 15. Exponent 31 means
     * infinite or not a number, exponent 0 a number without a leading 1, which is given one and has it taken away. */
    const ivec bits = from_halves(x), magnitude = (bits & 0x7fff) << 13, one = (ivec){0} + (1 << 23);
    const vec normal = (vec)(magnitude + one * (127 - 15) + ((magnitude >= 31 * one) & (one * (127 - 15))));
    const vec subnormal = (vec)(magnitude + one * (128 - 15)) - (vec)(one * (128 - 15));
    return (vec)((ivec)choose(magnitude < one, subnormal, normal) | (bits & 0x8000) << 16);
#endif
}

/* LANES numbers from `p` on. `shift`: which half of its byte an int4 is in. */
INLINE vec widen_lanes(const Format format, const uint8_t *p, int shift, float scale, float zero) {
    switch (format) {
        case BFLOAT16: return (vec)(from_halves(load_halves(p)) << 16);
        case FLOAT16: return from_float16(load_halves(p));
        case INT8: return zero + scale * __builtin_convertvector(from_halves(bytes_to_halves(p)), vec);
        case INT4: {
            const ivec codes = from_halves(bytes_to_halves(p)) >> shift & 15;
            return zero + scale * __builtin_convertvector(codes, vec);
        }
        case FP8: { /* a float16 with fewer bits on both sides, whose exponent's bias is less by 8 */
            const half_vec bits = bytes_to_halves(p);
            return from_float16((bits & 0x7f) << 7 | (bits & 0x80) << 8) * (256 * scale);
        }
        default: return splat(0); /* never asked for */
    }
}

INLINE void widen_run(const Format format, const uint8_t *p, int count, int shift, float scale, float zero,
                      float *out) {
    const int bytes = format == BFLOAT16 || format == FLOAT16 ? 2 : 1;
    int d = 0;
#pragma GCC unroll 4
    for (; d + LANES <= count; d += LANES) store(out + d, widen_lanes(format, p + d * bytes, shift, scale, zero));
    if (d == count) return;
    uint8_t rest[2 * LANES] = {0}; /* what lies behind the last number may not be read */
    memcpy(rest, p + d * bytes, (size_t)((count - d) * bytes));
    const vec last = widen_lanes(format, rest, shift, scale, zero);
    memcpy(out + d, &last, sizeof(float) * (size_t)(count - d));
}

INLINE void ask_for_vector(const Store *store, int64_t index) {
    ask_for(store->numbers + index * store->stride, store->stride);
    if (store->scales) ask_for(store->scales + index, sizeof(float));
    if (store->zeros) ask_for(store->zeros + index, sizeof(float));
}

INLINE void widen(const Store *store, int64_t index, int dim, float *out) {
    const uint8_t *p = store->numbers + index * store->stride;
    const float scale = store->scales ? store->scales[index] : 1, zero = store->zeros ? store->zeros[index] : 0;
    switch ((Format)store->format) {
        case BFLOAT16: widen_run(BFLOAT16, p, dim, 0, 1, 0, out); break;
        case FLOAT16: widen_run(FLOAT16, p, dim, 0, 1, 0, out); break;
        case INT8: widen_run(INT8, p, dim, 0, scale, zero, out); break;
        case INT4: /* number d in the low half of byte d, number d + D / 2 in the high half */
            widen_run(INT4, p, dim / 2, 0, scale, zero, out);
            widen_run(INT4, p, dim / 2, 4, scale, zero, out + dim / 2);
            break;
        case FP8: widen_run(FP8, p, dim, 0, scale, 0, out); break;
        default: break; /* FLOAT32 is read where it lies */
    }
}
