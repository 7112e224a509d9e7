/* x · Wᵀ on a CPU, for any number of rows of x: a decode step has as many as there are sequences, a prefill hundreds.
 *
 * The idea. W [out, in] is kept in panels of PANEL outputs: [out / PANEL, in, PANEL]. Number k of a row of x meets the
 * PANEL weights that multiply it side by side in memory, so that
 *
 *        panel: in x PANEL                 a sum is a vector of LANES outputs, and nothing has to be added up across
 *        k ┌────────────────┐              its lanes at the end; a panel is read from its first byte to its last,
 *          │ w w w w … w    │              which is what memory is quickest at;
 *   x[k] × │ w w w w … w    │ += sums      for up to ROWS rows of x all sums stay in registers, so one load of
 *          │ w w w w … w    │              weights serves them all.
 *          └────────────────┘
 *
 * What must move: every weight once, while its panel stays in the second-level cache for all rows. With one row that is
 * 2 FLOPs for each weight: bound by memory, and weights in fewer bits are as much quicker as they are smaller. Some 30
 * rows and more are bound by arithmetic.
 *
 * A sum runs over k in the same order whoever is beside it: what a row gets does not depend, bit for bit, on the others.
 *
 * Formats: float32, bfloat16, float16, and int8 with a scale for each output. Arithmetic is made in float32.
 */
#include "kernels.h"

#define PANEL 16  /* outputs: two vectors of 8 lanes */
#define WIDE (PANEL / LANES)
#define ROWS 6    /* rows of x that share registers: 6 * 2 sums, 2 vectors of weights, 1 number of x */
#define FEW 3     /* so few rows have registers for two panels: more sums, and no addition waits for the last one */
#define SPAN 96   /* rows that one thread takes through a panel before it takes the next panel */
#define WORTH_SHARING (1 << 16) /* multiplications; fewer are done before a second thread has noticed them */

typedef struct {
    const Matrix *matrix;
    const float *x; /* [rows, in], a row every x_stride floats */
    float *out;     /* [rows, outputs] */
    int64_t rows, x_stride;
    int add; /* to what is in out */
} Product;

INLINE int64_t bytes(const Format format) { return format == FLOAT32 ? 4 : format == INT8 ? 1 : 2; }

/* LANES signed bytes. */
INLINE vec from_int8(const uint8_t *p) {
#ifdef X86
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
#else
    vec x;
    for (int i = 0; i < LANES; i++) x[i] = (int8_t)p[i];
    return x;
#endif
}

INLINE vec weights_at(const Format format, const uint8_t *p) {
    switch (format) {
        case FLOAT32: return load((const float *)p);
        case INT8: return from_int8(p);
        default: return widen_lanes(format, p, 0, 1, 0);
    }
}

/* `count` rows from `row` on, for the outputs of `panels` panels from `panel` on. */
INLINE void multiply(const Format format, const int count, const int panels, const Product *a, int64_t row,
                     int64_t panel) {
    const Matrix *m = a->matrix;
    const int64_t step = PANEL * bytes(format), size = m->in * step;
    const uint8_t *weights = m->panels + panel * size;
    const float *x = a->x + row * a->x_stride;
    vec sums[ROWS][2 * WIDE];
    for (int r = 0; r < count; r++)
        for (int i = 0; i < panels * WIDE; i++) sums[r][i] = splat(0);
    for (int64_t k = 0; k < m->in; k++, weights += step) {
        vec w[2 * WIDE];
        for (int p = 0; p < panels; p++)
            for (int i = 0; i < WIDE; i++)
                w[p * WIDE + i] = weights_at(format, weights + p * size + i * LANES * bytes(format));
        for (int r = 0; r < count; r++)
            for (int i = 0; i < panels * WIDE; i++) sums[r][i] += w[i] * x[r * a->x_stride + k];
    }
    for (int r = 0; r < count; r++)
        for (int i = 0; i < panels * WIDE; i++) {
            const int64_t output = panel * PANEL + i * LANES;
            float *out = a->out + (row + r) * m->outputs + output;
            if (m->scales) sums[r][i] *= load(m->scales + output);
            if (m->bias) sums[r][i] += load(m->bias + output);
            if (a->add) sums[r][i] += load(out);
            store(out, sums[r][i]);
        }
}

/* The same for a count that the compiler is to see, so that all sums stay in registers. */
INLINE void multiply_rows(const Format format, int count, const Product *a, int64_t row, int64_t panel) {
    switch (count) {
        case 6: multiply(format, 6, 1, a, row, panel); break;
        case 5: multiply(format, 5, 1, a, row, panel); break;
        case 4: multiply(format, 4, 1, a, row, panel); break;
        case 3: multiply(format, 3, 1, a, row, panel); break;
        case 2: multiply(format, 2, 1, a, row, panel); break;
        default: multiply(format, 1, 1, a, row, panel);
    }
}

/* An item: two panels, or the last one, and up to SPAN rows. */
INLINE void do_pair(const Format format, const Product *a, int64_t item) {
    const int64_t num_panels = a->matrix->outputs / PANEL, spans = (a->rows + SPAN - 1) / SPAN;
    const int64_t panel = item / spans * 2, first = item % spans * SPAN;
    const int64_t count = a->rows - first < SPAN ? a->rows - first : SPAN;
    const int pair = panel + 1 < num_panels;
    if (pair && count <= FEW) {
        switch (count) {
            case 3: multiply(format, 3, 2, a, first, panel); break;
            case 2: multiply(format, 2, 2, a, first, panel); break;
            default: multiply(format, 1, 2, a, first, panel);
        }
        return;
    }
    /* Groups of rows as equal as can be: 8 rows are 4 and 4, for 6 and 2 would load as much for 2 as for 6. */
    const int64_t groups = (count + ROWS - 1) / ROWS;
    for (int64_t p = panel; p <= panel + pair; p++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t begin = count * g / groups, end = count * (g + 1) / groups;
            multiply_rows(format, (int)(end - begin), a, first + begin, p);
        }
}

static void do_float32(const void *a, int64_t item, int thread) { (void)thread, do_pair(FLOAT32, a, item); }
static void do_bfloat16(const void *a, int64_t item, int thread) { (void)thread, do_pair(BFLOAT16, a, item); }
static void do_float16(const void *a, int64_t item, int thread) { (void)thread, do_pair(FLOAT16, a, item); }
static void do_int8(const void *a, int64_t item, int thread) { (void)thread, do_pair(INT8, a, item); }

void panel_product(const Matrix *m, const float *x, int64_t x_stride, float *out, int64_t rows, int add,
                   int num_threads) {
    const Product a = {m, x, out, rows, x_stride, add};
    const int64_t num_pairs = (m->outputs / PANEL + 1) / 2, spans = (rows + SPAN - 1) / SPAN;
    const DoItem do_item[] = {do_float32, do_bfloat16, do_float16, do_int8}; /* in the order of Format */
    if (rows * m->in * m->outputs < WORTH_SHARING) num_threads = 1;
    share_out(num_pairs * spans, num_threads, do_item[m->format], &a);
}
