/* Attention over pages on a CPU: pages are read where they lie, nothing is gathered.
 *
 * The idea. A work item is one KV head of one sequence and a block of its query rows. All G query heads of the rows in
 * the block read the same keys and values, so a tile of TILE tokens is brought into the first-level cache once and used
 * by rows * G query vectors. Softmax is computed online (Milakov & Gimelshein, arXiv:1805.02867): each query vector
 * keeps the largest score so far, the sum of exponentials relative to it, and a weighted sum of values that is rescaled
 * when a larger score turns up.
 *
 * A tile is a list of pointers, one a token, made from the page table. So any page size works: a tile may be a part of
 * a large page or span many small ones.
 *
 * Arithmetic is made in float32. A tile in another format is widened first, into memory that stays in the nearest
 * caches: what comes from far away are the narrow numbers.
 *
 * With a window, a row sees the last so many tokens only. Tiles begin at the oldest token that a row of the block sees:
 * what lies behind it may have no page any more.
 *
 * What must move: 2 * 4 * D bytes a token and KV head, fewer in a narrower format. With G = 3 query heads a token costs
 * 4 * 3 * D FLOPs for them: decode is bound by memory. The processor guesses what is read next only as far as a run of
 * addresses goes, and pages end such runs early: so each tile asks for the memory of the next one, which the page table
 * knows.
 *
 * Prefill is bound by arithmetic: two products of small matrices, scores = Q K^T and out = W V. In both, a value of the
 * left matrix is multiplied with a row of the right one (`product`); K^T is made by transposing a tile of keys, which
 * pays when many query vectors use it. For the few of a decode row, keys are read as they lie (`dot_products`).
 *
 * When there are fewer items than threads can use, contexts are split, and the parts are merged by their sums
 * (split-KV, as in Flash-Decoding).
 */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define WORTH_WAKING (1 << 18) /* multiplications in Q K^T; fewer are done before a second thread is awake */
#define TILE 32        /* tokens handled at a time, a multiple of 4 * LANES: 128 numbers each fill the first cache */
#define ROWS 16        /* query rows of one work item: no more than TILE, so that all see some of their first tile */
#define VECTORS 6      /* query vectors that share registers in the inner loops */
#define MANY 16        /* query vectors from which transposing a tile of keys pays */
#define WIDEST 256     /* the largest head_dim whose keys are transposed */

typedef struct {
    int64_t sequence, kv_head, first_row, last_row; /* rows of q */
} Item;

/* Where the keys and values of some tokens lie. Pointers past the last token repeat it: they may be followed too. */
typedef struct {
    int64_t index[TILE]; /* of the key among all vectors; that of its value is to_values behind it */
    const float *keys[TILE], *values[TILE];
    int tokens;
} Tile;

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

/* Sums fill the registers: the fewer query vectors there are, the more tokens, or vectors of columns, go with each. */
INLINE int beside(int count) { return count <= VECTORS / 2 ? 4 : 2; }

/* scores[m][t] = q[m] . keys[t], for `count` query vectors. Asks for the keys of the next tile. */
INLINE void dot_products(const int count, const float *const *q, const Tile *tile, const Tile *next, int dim,
                         float scores[][TILE]) {
    for (int t = 0; t < tile->tokens; t += beside(count)) {
        const float *const *keys = tile->keys + t;
        vec sums[VECTORS][4];
        for (int m = 0; m < count; m++)
            for (int i = 0; i < beside(count); i++) sums[m][i] = splat(0);
        int d = 0;
        for (; d + LANES <= dim; d += LANES) {
            if (next && d % (CACHE_LINE / 4) == 0)
                for (int i = 0; i < beside(count); i++) ask_for(next->keys[t + i] + d, 1);
            for (int m = 0; m < count; m++)
                for (int i = 0; i < beside(count); i++) sums[m][i] += load(q[m] + d) * load(keys[i] + d);
        }
        for (int m = 0; m < count; m += beside(count) == 4 ? 1 : 2) {
            if (beside(count) == 4) {
                const quad four = totals(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
                memcpy(scores[m] + t, &four, sizeof four);
            } else {
                const int other = m + 1 < count ? m + 1 : m;
                const quad two_each = totals(sums[m][0], sums[m][1], sums[other][0], sums[other][1]);
                memcpy(scores[m] + t, &two_each, sizeof two_each / 2);
                memcpy(scores[other] + t, (const float *)&two_each + 2, sizeof two_each / 2);
            }
        }
        for (; d < dim; d++)
            for (int m = 0; m < count; m++)
                for (int i = 0; i < beside(count); i++) scores[m][t + i] += q[m][d] * keys[i][d];
    }
}

/* out[m] = out[m] * rescale[m] + sum over i of left[m][i] * right[i], in `wide` vectors of columns from column `at` on.
 * Without rescale, out starts at zero. Asks for the same columns of the next right matrix, if it is given. */
INLINE void product_columns(const int count, const int wide, const float *const *left, const float *const *right,
                            int depth, int at, const float *rescale, const float *const *next, float *const *out) {
    vec sums[VECTORS][4];
    for (int m = 0; m < count; m++)
        for (int w = 0; w < wide; w++)
            sums[m][w] = rescale ? load(out[m] + at + w * LANES) * rescale[m] : splat(0);
    for (int i = 0; i < depth; i++) {
        if (next) ask_for(next[i] + at, 4 * wide * LANES);
        vec row[4];
        for (int w = 0; w < wide; w++) row[w] = load(right[i] + at + w * LANES);
        for (int m = 0; m < count; m++)
            for (int w = 0; w < wide; w++) sums[m][w] += row[w] * left[m][i];
    }
    for (int m = 0; m < count; m++)
        for (int w = 0; w < wide; w++) store(out[m] + at + w * LANES, sums[m][w]);
}

/* The same for all columns. */
INLINE void product(const int count, const float *const *left, const float *const *right, int depth, int columns,
                    const float *rescale, const float *const *next, float *const *out) {
    const int wide = beside(count);
    int at = 0;
    for (; at + wide * LANES <= columns; at += wide * LANES)
        product_columns(count, wide, left, right, depth, at, rescale, next, out);
    for (; at + LANES <= columns; at += LANES)
        product_columns(count, 1, left, right, depth, at, rescale, next, out);
    for (; at < columns; at++)
        for (int m = 0; m < count; m++) {
            float sum = rescale ? out[m][at] * rescale[m] : 0;
            for (int i = 0; i < depth; i++) sum += left[m][i] * right[i][at];
            out[m][at] = sum;
        }
}

/* The tokens of a tile that one query vector sees: from `first` on, before `last`. */
typedef struct {
    int first, last;
} Range;

/* Scores become weights relative to the new maximum; an invisible token weighs nothing. Returns the rescaling. */
INLINE float softmax_step(float *scores, int tokens, Range visible, float scale, float *max, float *sum) {
    ivec lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    vec tops = splat(*max);
    for (int t = 0; t < tokens; t += LANES) {
        const ivec seen = (lane + t >= visible.first) & (lane + t < visible.last);
        const vec score = choose(seen, load(scores + t) * scale, splat(-INFINITY));
        store(scores + t, score);
        tops = choose(score > tops, score, tops);
    }
    float largest = tops[0];
    for (int i = 1; i < LANES; i++)
        if (tops[i] > largest) largest = tops[i];
    vec mass = splat(0);
    for (int t = 0; t < tokens; t += LANES) {
        const vec weight = exp_vec(load(scores + t) - largest);
        store(scores + t, weight);
        mass += weight;
    }
    const float rescale = largest > *max ? expf(*max - largest) : 1;
    *sum = *sum * rescale + total(mass);
    *max = largest;
    return rescale;
}

/* One tile for `count` <= VECTORS query vectors; vector m sees `visible[m]` of its tokens. */
INLINE void attend_block(const int count, const float *const *q, const Tile *tile, const Tile *next,
                         const float *const *transposed, int dim, float scale, const Range *visible, float *const *acc,
                         float *max, float *sum) {
    float scores[VECTORS][TILE], *rows[VECTORS], rescale[VECTORS];
    for (int m = 0; m < count; m++) rows[m] = scores[m];
    if (transposed)
        product(count, q, transposed, dim, TILE, NULL, NULL, rows);
    else
        dot_products(count, q, tile, next, dim, scores);
    for (int m = 0; m < count; m++)
        rescale[m] = softmax_step(scores[m], tile->tokens, visible[m], scale, max + m, sum + m);
    const float *const *weights = (const float *const *)rows, *const *next_values = next ? next->values : NULL;
    product(count, weights, tile->values, tile->tokens, dim, rescale, next_values, acc);
}

/* From a key to its value, in vectors. */
INLINE int64_t to_values(const Attention *a) { return a->num_pages * a->num_kv_heads * a->page_size; }

/* `widened`: where the tile will be widened to, [2, TILE, D]; NULL if its numbers are float32 already. */
static void locate(const Attention *a, Item item, int64_t start, int64_t last, const float *widened, Tile *tile) {
    const int32_t *table = a->tables + item.sequence * a->table_stride;
    const float *base = widened ? widened : (const float *)a->kv.numbers;
    int64_t page = start / a->page_size, offset = start % a->page_size;
    tile->tokens = (int)(last - start < TILE ? last - start : TILE);
    for (int t = 0; t < tile->tokens; t++) {
        tile->index[t] = (table[page] * a->num_kv_heads + item.kv_head) * a->page_size + offset;
        tile->keys[t] = base + (widened ? t : tile->index[t]) * a->head_dim;
        tile->values[t] = tile->keys[t] + (widened ? TILE : to_values(a)) * a->head_dim;
        if (++offset == a->page_size) {
            offset = 0;
            page++;
        }
    }
    for (int t = tile->tokens; t < TILE; t++) {
        tile->keys[t] = tile->keys[t - 1];
        tile->values[t] = tile->values[t - 1];
    }
}

/* Asks for the numbers of the next tile, too. */
static void widen_tile(const Attention *a, const Tile *tile, const Tile *next, float *widened) {
    for (int part = 0; part < 2; part++) {
        const int64_t ahead = part * to_values(a);
        for (int t = 0; t < tile->tokens; t++) {
            if (next && t < next->tokens) ask_for_vector(&a->kv, next->index[t] + ahead);
            widen(&a->kv, tile->index[t] + ahead, (int)a->head_dim, widened + (part * TILE + t) * a->head_dim);
        }
    }
}

/* columns[d][t] = keys[t][d]. Asks for the keys of the next tile. */
static void transpose(const Tile *tile, const Tile *next, int dim, float columns[][TILE]) {
    for (int t = 0; t < TILE; t += LANES) {
        const float *const *k = tile->keys + t;
        if (next)
            for (int i = 0; i < LANES; i++) ask_for(next->keys[t + i], 4 * dim);
        for (int d = 0; d < dim; d++)
            for (int i = 0; i < LANES; i++) columns[d][t + i] = k[i][d];
    }
}

/* Tokens first to last of one item's context, for all its query vectors. */
static void attend(const Attention *a, Item item, int64_t first, int64_t last, float *widened, Partial partial) {
    const int64_t group = a->num_heads / a->num_kv_heads, count = (item.last_row - item.first_row) * group;
    const int64_t context = a->context_lens[item.sequence], end_row = a->query_start[item.sequence + 1];
    const int dim = (int)a->head_dim;
    memset(partial.acc, 0, sizeof(float) * (size_t)(count * dim));
    for (int64_t m = 0; m < count; m++) {
        partial.max[m] = -INFINITY;
        partial.sum[m] = 0;
    }
    if (first >= last) return;

    float columns[WIDEST][TILE];
    const float *column[WIDEST], *const *transposed = count >= MANY && dim <= WIDEST ? column : NULL;
    if (transposed)
        for (int d = 0; d < dim; d++) column[d] = columns[d];
    Tile tiles[2], *tile = tiles, *spare = tiles + 1;
    locate(a, item, first, last, widened, tile);
    for (int64_t start = first; start < last; start += TILE) {
        const Tile *next = NULL;
        if (start + TILE < last) {
            locate(a, item, start + TILE, last, widened, spare);
            next = spare;
        }
        if (widened) {
            widen_tile(a, tile, next, widened);
            next = NULL; /* asked for */
        }
        if (transposed) transpose(tile, next, dim, columns);
        /* The last row of a sequence sees its whole context, each row above it one token less. */
        const int64_t hidden = start - context + end_row - item.first_row; /* rows that see nothing of this tile */
        for (int64_t m = hidden > 0 ? hidden * group : 0; m < count; m += VECTORS) {
            const float *q[VECTORS];
            float *acc[VECTORS], *max = partial.max + m, *sum = partial.sum + m;
            Range visible[VECTORS];
            const int used = (int)(count - m < VECTORS ? count - m : VECTORS);
            for (int i = 0; i < used; i++) {
                const int64_t row = item.first_row + (m + i) / group;
                const int64_t seen = context - (end_row - 1 - row) - start;
                q[i] = a->q + (row * a->num_heads + item.kv_head * group + (m + i) % group) * dim;
                acc[i] = partial.acc + (m + i) * dim;
                visible[i].first = (int)(seen > a->window ? seen - a->window : 0);
                visible[i].last = (int)(seen < tile->tokens ? seen : tile->tokens);
            }
#define BLOCK(n) attend_block(n, q, tile, next, transposed, dim, a->scale, visible, acc, max, sum)
            switch (used) { /* so that the compiler sees the count and keeps all sums in registers */
                case 6: BLOCK(6); break;
                case 5: BLOCK(5); break;
                case 4: BLOCK(4); break;
                case 3: BLOCK(3); break;
                case 2: BLOCK(2); break;
                default: BLOCK(1);
            }
#undef BLOCK
            next = NULL; /* asked for once */
        }
        Tile *done = tile;
        tile = spare;
        spare = done;
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
            if (part.sum[m] != 0) sum += part.sum[m] * expf(part.max[m] - max);
        }
        memset(out, 0, sizeof(float) * (size_t)dim);
        for (int64_t i = 0; i < num_parts; i++) {
            const Partial part = partial_at(memory, first_part + i, room, dim);
            if (part.sum[m] == 0) continue;
            const float weight = expf(part.max[m] - max) / sum;
            for (int64_t d = 0; d < dim; d++) out[d] += weight * part.acc[m * dim + d];
        }
    }
}

/* The oldest token that query row `row` sees. */
static int64_t oldest(const Attention *a, int64_t sequence, int64_t row) {
    const int64_t position = a->context_lens[sequence] - (a->query_start[sequence + 1] - row);
    return position < a->window ? 0 : position - a->window + 1;
}

/* A number that leads outside a tensor is refused before it is followed. */
static int check(const Attention *a) {
    if (a->query_start[0] != 0 || a->query_start[a->num_sequences] != a->num_tokens) return BAD_ROWS;
    for (int64_t s = 0; s < a->num_sequences; s++) {
        const int64_t rows = (int64_t)a->query_start[s + 1] - a->query_start[s], context = a->context_lens[s];
        const int64_t pages = (context + a->page_size - 1) / a->page_size;
        if (rows < 0) return BAD_ROWS;
        if (context < rows || pages > a->max_pages) return BAD_CONTEXT;
        for (int64_t page = oldest(a, s, a->query_start[s]) / a->page_size; page < pages; page++) {
            const int32_t physical = a->tables[s * a->table_stride + page];
            if (physical < 0 || physical >= a->num_pages) return BAD_PAGE;
        }
    }
    return DONE;
}

/* Items, each in so many parts, and memory for what the parts find. */
typedef struct {
    const Attention *attention;
    const Item *items;
    float *memory, *tiles;
    int64_t tile_size, num_parts, room;
} Plan;

static void do_part(const void *work, int64_t number, int thread) {
    const Plan *plan = work;
    const Attention *a = plan->attention;
    const Item item = plan->items[number / plan->num_parts];
    /* From what the first row of the block sees to what the last one does, in equal parts of whole tiles. */
    const int64_t begin = oldest(a, item.sequence, item.first_row), count = plan->num_parts * TILE;
    const int64_t end = a->context_lens[item.sequence] - (a->query_start[item.sequence + 1] - item.last_row);
    const int64_t part = (end - begin + count - 1) / count * TILE;
    const int64_t first = begin + number % plan->num_parts * part, last = first + part < end ? first + part : end;
    float *widened = plan->tiles ? plan->tiles + plan->tile_size * thread : NULL;
    attend(a, item, first, last, widened, partial_at(plan->memory, number, plan->room, a->head_dim));
}

static void do_finish(const void *work, int64_t number, int thread) {
    (void)thread;
    const Plan *plan = work;
    finish(plan->attention, plan->items[number], plan->memory, number * plan->num_parts, plan->num_parts, plan->room);
}

int paged_attention(const Attention *a, int num_threads) {
    const int fault = check(a);
    if (fault) return fault;
    int64_t num_items = 0, longest = 0, most_rows = 0, scores = 0;
    for (int64_t s = 0; s < a->num_sequences; s++) {
        const int64_t rows = a->query_start[s + 1] - a->query_start[s];
        num_items += (rows + ROWS - 1) / ROWS * a->num_kv_heads;
        if (rows > most_rows) most_rows = rows;
        const int64_t seen = a->context_lens[s] < a->window + ROWS ? a->context_lens[s] : a->window + ROWS;
        if (seen > longest) longest = seen;
        scores += rows * seen;
    }
    if (scores * a->num_heads * a->head_dim < WORTH_WAKING) num_threads = 1;
    if (num_items == 0) return DONE;
    int64_t num_parts = (4 * num_threads + num_items - 1) / num_items;
    if (num_parts > longest / 256) num_parts = longest / 256;
    if (num_threads == 1 || num_parts < 1) num_parts = 1;

    const int64_t room = (most_rows < ROWS ? most_rows : ROWS) * (a->num_heads / a->num_kv_heads);
    Item *items = malloc(sizeof(Item) * (size_t)num_items);
    float *memory = malloc(sizeof(float) * (size_t)(num_items * num_parts * room * (2 + a->head_dim)));
    const int64_t tile_size = a->kv.format == FLOAT32 ? 0 : 2 * TILE * a->head_dim; /* of one thread */
    float *tiles = tile_size ? aligned_alloc(CACHE_LINE, sizeof(float) * (size_t)(tile_size * num_threads)) : NULL;
    if (!items || !memory || (tile_size && !tiles)) {
        free(items);
        free(memory);
        free(tiles);
        return NO_MEMORY;
    }
    int64_t made = 0;
    for (int64_t s = 0; s < a->num_sequences; s++) {
        const int64_t end = a->query_start[s + 1];
        for (int64_t row = a->query_start[s]; row < end; row += ROWS)
            for (int64_t head = 0; head < a->num_kv_heads; head++)
                items[made++] = (Item){s, head, row, row + ROWS < end ? row + ROWS : end};
    }

    const Plan plan = {a, items, memory, tiles, tile_size, num_parts, room};
    share_out(num_items * num_parts, num_threads, do_part, &plan);
    if (num_parts == 1) num_threads = 1; /* there is nothing to merge */
    share_out(num_items, num_threads, do_finish, &plan);
    free(items);
    free(memory);
    free(tiles);
    return DONE;
}
