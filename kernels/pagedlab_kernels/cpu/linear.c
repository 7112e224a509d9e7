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
 * Formats: float32, bfloat16 and float16, with arithmetic in float32; groups of 4 or 8 bits, which have panels of their
 * own and the same arithmetic (linear_groups.h); int8 with a scale for each output, which has panels of its own and
 * arithmetic of its own (linear_int8.h).
 */
#include <stdlib.h>

#include "linear_groups.h"
#include "linear_int8.h"

#ifdef __AVX512VL__ /* twice as many registers: always */
#define FEW SPAN
#else
#define FEW 3     /* so few rows have registers for two panels: more sums, and no addition waits for the last one */
#endif
#define SPAN 96   /* rows that one thread takes through a panel before it takes the next panel */
#define WORTH_SHARING (1 << 16) /* multiplications; fewer are done before a second thread has noticed them */

INLINE int64_t bytes(const Format format) { return format == FLOAT32 ? 4 : 2; }
INLINE int group_bits(const Format format) { return format == GROUPS4 ? 4 : format == GROUPS8 ? 8 : 0; /* no groups */ }

INLINE int64_t panel_bytes(const Format format, int64_t in) {
    if (group_bits(format)) return in / GROUP * group_bytes(group_bits(format));
    return in * PANEL * (format == INT8 ? 1 : bytes(format));
}

INLINE vec weights_at(const Format format, const uint8_t *p) {
    return format == FLOAT32 ? load((const float *)p) : widen_lanes(format, p, 0, 1, 0);
}

/* `count` rows from `row` on, for the outputs of `panels` panels from `panel` on, which hold these weights. */
INLINE void multiply(const Format format, const int count, const int panels, const Product *a, const uint8_t *weights,
                     int64_t row, int64_t panel) {
    if (format == INT8) {
        multiply_int8(count, panels, a, weights, row, panel);
        return;
    }
    if (group_bits(format)) {
        multiply_groups(group_bits(format), count, panels, a, weights, row, panel);
        return;
    }
    const Matrix *m = a->matrix;
    const int64_t step = PANEL * bytes(format), size = m->in * step;
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
        for (int i = 0; i < panels * WIDE; i++) finish(a, sums[r][i], row + r, panel * PANEL + i * LANES);
}

/* The same for a count that the compiler is to see, so that all sums stay in registers. */
INLINE void multiply_rows(const Format format, int count, const int panels, const Product *a, const uint8_t *weights,
                          int64_t row, int64_t panel) {
    switch (count) {
        case 6: multiply(format, 6, panels, a, weights, row, panel); break;
        case 5: multiply(format, 5, panels, a, weights, row, panel); break;
        case 4: multiply(format, 4, panels, a, weights, row, panel); break;
        case 3: multiply(format, 3, panels, a, weights, row, panel); break;
        case 2: multiply(format, 2, panels, a, weights, row, panel); break;
        default: multiply(format, 1, panels, a, weights, row, panel);
    }
}

/* The same for any count. Groups of rows are as equal as can be: 8 rows are 4 and 4, for 6 and 2 would load as much for
 * 2 as for 6. */
INLINE void multiply_span(const Format format, int64_t count, const int panels, const Product *a,
                          const uint8_t *weights, int64_t row, int64_t panel) {
    const int64_t groups = (count + ROWS - 1) / ROWS;
    for (int64_t g = 0; g < groups; g++) {
        const int64_t begin = count * g / groups, size = count * (g + 1) / groups - begin;
        multiply_rows(format, (int)size, panels, a, weights, row + begin, panel);
    }
}

/* The same from the matrix. What is in groups becomes floats once for all rows, where there is room for them. */
INLINE void do_panels(const Format format, const int panels, const Product *a, int64_t row, int64_t count,
                      int64_t panel, int thread) {
    const int64_t in = a->matrix->in, size = panel_bytes(format, in);
    const uint8_t *weights = a->matrix->panels + panel * size;
    if (group_bits(format) && a->floats) {
        float *floats = a->floats + thread * 2 * in * PANEL;
        for (int p = 0; p < panels; p++)
            unpack_panel(group_bits(format), weights + p * size, in, floats + p * in * PANEL);
        multiply_span(FLOAT32, count, panels, a, (const uint8_t *)floats, row, panel);
    } else {
        multiply_span(format, count, panels, a, weights, row, panel);
    }
}

/* An item: two panels, or the last one, and up to SPAN rows. */
INLINE void do_pair(const Format format, const Product *a, int64_t item, int thread) {
    const int64_t num_panels = a->matrix->outputs / PANEL, spans = (a->rows + SPAN - 1) / SPAN;
    const int64_t panel = item / spans * 2, first = item % spans * SPAN;
    const int64_t count = a->rows - first < SPAN ? a->rows - first : SPAN;
    const int pair = panel + 1 < num_panels;
    if (pair && count <= FEW) {
        do_panels(format, 2, a, first, count, panel, thread);
        return;
    }
    do_panels(format, 1, a, first, count, panel, thread);
    if (pair) do_panels(format, 1, a, first, count, panel + 1, thread);
}

static void do_float32(const void *a, int64_t item, int thread) { do_pair(FLOAT32, a, item, thread); }
static void do_bfloat16(const void *a, int64_t item, int thread) { do_pair(BFLOAT16, a, item, thread); }
static void do_float16(const void *a, int64_t item, int thread) { do_pair(FLOAT16, a, item, thread); }
static void do_int8(const void *a, int64_t item, int thread) { do_pair(INT8, a, item, thread); }
static void do_groups4(const void *a, int64_t item, int thread) { do_pair(GROUPS4, a, item, thread); }
static void do_groups8(const void *a, int64_t item, int thread) { do_pair(GROUPS8, a, item, thread); }

int panel_product(const Matrix *m, const float *x, int64_t x_stride, float *out, int64_t rows, int add,
                  int num_threads) {
    static const DoItem do_item[] = {[FLOAT32] = do_float32, [BFLOAT16] = do_bfloat16, [FLOAT16] = do_float16,
                                     [INT8] = do_int8,       [GROUPS4] = do_groups4,   [GROUPS8] = do_groups8};
    const int64_t num_pairs = (m->outputs / PANEL + 1) / 2, spans = (rows + SPAN - 1) / SPAN;
    Product a = {m, x, out, rows, x_stride, add, NULL, NULL, NULL};
    if (rows * m->in * m->outputs < WORTH_SHARING) num_threads = 1;
    if (m->format == INT8) {
        const int64_t steps = rows * num_blocks(m);
        a.steps = malloc((size_t)(steps * 4 + rows * m->in * 2));
        if (!a.steps) return NO_MEMORY;
        a.codes = (int16_t *)(a.steps + steps);
        share_out(rows, rows * m->in < WORTH_SHARING ? 1 : num_threads, do_round, &a);
    }
    if (group_bits(m->format) && rows > ROWS) {
        a.floats = malloc(sizeof(float) * (size_t)(num_threads * 2 * m->in * PANEL));
        if (!a.floats) return NO_MEMORY;
    }
    share_out(num_pairs * spans, num_threads, do_item[m->format], &a);
    free(a.steps);
    free(a.floats);
    return DONE;
}
