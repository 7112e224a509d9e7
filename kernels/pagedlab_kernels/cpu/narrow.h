/* float32 -> the KV formats of kv_format.py, one vector of D numbers at a time: what widen.h reads, and bit for bit what
 * `quantize` writes. Numbers are rounded to the nearest; of two that are as near, to the even one. */
#include "widen.h"

INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Takes 23 - `mantissa` bits off, and what the exponents' biases differ by. Of numbers smaller than the least that has a
 * leading 1, addition to a number whose last bit is their last bit does the rounding. */
INLINE uint32_t fewer_bits(float x, const int mantissa, const int bias) {
    const int off = 23 - mantissa;
    const uint32_t size = bits_of(x) & 0x7fffffff, magic = (uint32_t)(128 - bias + off) << 23;
    float anchor, magnitude;
    memcpy(&anchor, &magic, sizeof anchor);
    memcpy(&magnitude, &size, sizeof magnitude);
    const uint32_t small = bits_of(magnitude + anchor) - magic;
    const uint32_t normal = (size + ((uint32_t)(bias - 127) << 23) + (1u << (off - 1)) - 1 + (size >> off & 1)) >> off;
    return size < (uint32_t)(128 - bias) << 23 ? small : normal;
}

INLINE uint16_t to_bfloat16(float x) {
    const uint32_t bits = bits_of(x);
    return x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE uint16_t to_float16(float x) {
    const uint32_t size = bits_of(x) & 0x7fffffff, sign = bits_of(x) >> 16 & 0x8000;
    const uint32_t beyond = size > 0x7f800000 ? 0x7e00 : 0x7c00; /* not a number; infinite, as are 2^16 and more here */
    return (uint16_t)(sign | (size >= 0x47800000 ? beyond : fewer_bits(x, 10, 15)));
}

/* Of a number from -448 to 448, or of none. */
INLINE uint8_t to_fp8(float x) {
    return (uint8_t)((bits_of(x) >> 24 & 0x80) | (x != x ? 0x7f : fewer_bits(x, 3, 7)));
}

/* The least and the largest number, or NaN twice if one is. */
INLINE void range(const float *x, int dim, float *least, float *largest) {
    float low = x[0], high = x[0], wrong = 0;
    for (int d = 0; d < dim; d++) {
        low = x[d] < low ? x[d] : low;
        high = x[d] > high ? x[d] : high;
        wrong = x[d] != x[d] ? x[d] : wrong;
    }
    *least = wrong != 0 ? wrong : low;
    *largest = wrong != 0 ? wrong : high;
}

INLINE uint8_t code_of(float x, float zero, float step, float levels) {
    const float code = rintf((x - zero) / step);
    return (uint8_t)(code > 0 ? code < levels ? code : levels : 0);
}

/* `x: [dim]` as vector `index` of a store. */
INLINE void narrow(const Store *store, int64_t index, int dim, const float *x) {
    uint8_t *p = (uint8_t *)store->numbers + index * store->stride;
    uint16_t *halves = (uint16_t *)p;
    float *scales = (float *)store->scales, *zeros = (float *)store->zeros, least, largest;
    switch ((Format)store->format) {
        case FLOAT32: memcpy(p, x, sizeof(float) * (size_t)dim); return;
        case BFLOAT16:
            for (int d = 0; d < dim; d++) halves[d] = to_bfloat16(x[d]);
            return;
        case FLOAT16:
            for (int d = 0; d < dim; d++) halves[d] = to_float16(x[d]);
            return;
        default: break;
    }
    range(x, dim, &least, &largest);
    if (store->format == FP8) {
        const float most = -least > largest ? -least : largest, scale = most / 448, step = scale == 0 ? 1 : scale;
        scales[index] = scale;
        for (int d = 0; d < dim; d++) {
            const float number = x[d] / step;
            p[d] = to_fp8(number < -448 ? -448 : number > 448 ? 448 : number);
        }
        return;
    }
    const float levels = store->format == INT8 ? 255 : 15, scale = (largest - least) / levels;
    const float step = scale == 0 ? 1 : scale;
    scales[index] = scale;
    zeros[index] = least;
    if (store->format == INT8)
        for (int d = 0; d < dim; d++) p[d] = code_of(x[d], least, step, levels);
    else /* number d in the low half of byte d, number d + D / 2 in the high half */
        for (int d = 0; d < dim / 2; d++)
            p[d] = (uint8_t)(code_of(x[d], least, step, levels) | code_of(x[d + dim / 2], least, step, levels) << 4);
}
