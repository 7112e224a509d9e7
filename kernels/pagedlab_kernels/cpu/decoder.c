/* All layers of a decoder, from the residual stream to the residual stream.
 *
 * The idea. A layer is nine calls of what the other files have. From Python each of them costs 5 to 15 microseconds of
 * tensors, checks and dispatch, with SmolLM2's 30 layers some 4 milliseconds a step: as much as half of what reading
 * its weights takes in 8 bits. Here a step is one call.
 *
 * What is added to the residual stream is added by the product that makes it. And once the last layer has attended, only
 * rows that a token is sampled from go on: of a prompt, its last.
 */
#include "kernels.h"

typedef struct {
    Matrix qkv, output, gate_and_up, down;
    const float *input_norm, *mlp_input_norm;   /* [hidden], of what attention and feed-forward read; */
    const float *output_norm, *mlp_output_norm; /* of what they return (Gemma 3); NULL: none */
    const float *q_norm, *k_norm;               /* [D], of heads (Qwen3, Gemma 3); NULL: none */
    Store kv;                                   /* [2, N, Hkv, P, D] */
    int64_t window;                             /* tokens that a row sees at most; 0: all */
    int64_t local;                              /* whether positions are turned by the local angles */
} Layer;

typedef struct {
    const Layer *layers;
    int64_t num_layers, hidden, width, num_heads, num_kv_heads, head_dim, gelu;
    float eps, norm_offset, scale;
} Decoder;

typedef struct {
    float *hidden;                    /* [T, hidden]: what enters the first layer, and is written over */
    float *out;                       /* [S, hidden]: what leaves the last, of wanted rows */
    float *scratch;                   /* what decoder.py says that T rows need */
    const float *cosine[2], *sine[2]; /* [T, D / 2], of global layers and of local ones */
    const int64_t *slots, *wanted;    /* [T]; [S]: rows */
    const int32_t *tables, *query_start, *context_lens;
    int64_t table_stride, max_pages, max_context, num_tokens, num_wanted, num_sequences, page_size, num_pages;
} Step;

/* Rows on their way through the layers, and where they leave what they become there. */
typedef struct {
    float *hidden; /* the residual stream */
    float *normed, *fused, *q, *attended, *wide, *gate;
    int64_t count;
} Rows;

/* What a product with x gives, by way of `norm` if there is one, is added to the residual stream. */
static int add_product(const Decoder *d, const Rows *r, const Matrix *m, const float *x, const float *norm,
                       int num_threads) {
    if (!norm) return panel_product(m, x, m->in, r->hidden, r->count, 1, num_threads);
    const int fault = panel_product(m, x, m->in, r->normed, r->count, 0, num_threads);
    rms_norm(r->normed, d->hidden, norm, d->norm_offset, d->eps, r->normed, r->count, d->hidden, num_threads);
    for (int64_t i = 0; i < r->count * d->hidden; i++) r->hidden[i] += r->normed[i];
    return fault;
}

/* From the residual stream to what heads have found, in `attended`. */
static int attend(const Decoder *d, const Step *s, const Layer *layer, const Rows *r, int num_threads) {
    const int64_t q_size = d->num_heads * d->head_dim, kv_size = d->num_kv_heads * d->head_dim;
    const int64_t fused_size = q_size + 2 * kv_size;
    rms_norm(r->hidden, d->hidden, layer->input_norm, d->norm_offset, d->eps, r->normed, r->count, d->hidden,
             num_threads);
    const int fault = panel_product(&layer->qkv, r->normed, d->hidden, r->fused, r->count, 0, num_threads);
    if (fault) return fault;
    const Placing placing = {
        .q = r->fused, .k = r->fused + q_size, .v = r->fused + q_size + kv_size,
        .cosine = s->cosine[layer->local], .sine = s->sine[layer->local], .slots = s->slots,
        .rotated = r->q, .kv = layer->kv,
        .q_norm = layer->q_norm, .k_norm = layer->k_norm, .norm_offset = d->norm_offset, .eps = d->eps,
        .q_stride = fused_size, .k_stride = fused_size, .v_stride = fused_size,
        .num_tokens = r->count, .num_heads = d->num_heads, .num_kv_heads = d->num_kv_heads,
        .head_dim = d->head_dim, .page_size = s->page_size, .num_pages = s->num_pages,
    };
    if (rotate_and_write(&placing, num_threads)) return BAD_SLOT;
    const Attention attention = {
        .q = r->q, .out = r->attended, .kv = layer->kv,
        .tables = s->tables, .query_start = s->query_start, .context_lens = s->context_lens,
        .table_stride = s->table_stride, .max_pages = s->max_pages,
        .num_tokens = r->count, .num_sequences = s->num_sequences,
        .num_heads = d->num_heads, .num_kv_heads = d->num_kv_heads,
        .head_dim = d->head_dim, .page_size = s->page_size, .num_pages = s->num_pages,
        .window = layer->window ? layer->window : s->max_context, .scale = d->scale,
    };
    return paged_attention(&attention, num_threads);
}

/* The last layer has attended: its keys and values are in their pages, and nobody asks for more than wanted rows. */
static void keep_wanted(const Decoder *d, const Step *s, Rows *r) {
    const size_t hidden = (size_t)d->hidden, q_size = (size_t)(d->num_heads * d->head_dim);
    for (int64_t i = 0; i < s->num_wanted; i++) {
        memcpy(s->out + i * hidden, r->hidden + s->wanted[i] * hidden, sizeof(float) * hidden);
        memcpy(r->q + i * q_size, r->attended + s->wanted[i] * q_size, sizeof(float) * q_size);
    }
    r->hidden = s->out;
    r->attended = r->q;
    r->count = s->num_wanted;
}

static int feed_forward(const Decoder *d, const Layer *layer, const Rows *r, int num_threads) {
    rms_norm(r->hidden, d->hidden, layer->mlp_input_norm, d->norm_offset, d->eps, r->normed, r->count, d->hidden,
             num_threads);
    const int fault = panel_product(&layer->gate_and_up, r->normed, d->hidden, r->wide, r->count, 0, num_threads);
    if (fault) return fault;
    gated(r->wide, r->wide + d->width, 2 * d->width, d->gelu, r->gate, r->count, d->width, num_threads);
    return add_product(d, r, &layer->down, r->gate, layer->mlp_output_norm, num_threads);
}

/* Returns what paged_attention and panel_product return, BAD_SLOT, or BAD_ROW for a wanted row that is not there. */
int decoder(const Decoder *d, const Step *s, int num_threads) {
    const int64_t rows = s->num_tokens, q_size = d->num_heads * d->head_dim;
    const int64_t fused_size = q_size + 2 * d->num_kv_heads * d->head_dim;
    for (int64_t i = 0; i < s->num_wanted; i++)
        if (s->wanted[i] < 0 || s->wanted[i] >= rows) return BAD_ROW;
    Rows r = {.hidden = s->hidden, .normed = s->scratch, .count = rows};
    r.fused = r.normed + rows * d->hidden;
    r.q = r.fused + rows * fused_size;
    r.attended = r.q + rows * q_size;
    r.wide = r.attended + rows * q_size;
    r.gate = r.wide + rows * 2 * d->width;
    for (const Layer *layer = d->layers; layer < d->layers + d->num_layers; layer++) {
        int fault = attend(d, s, layer, &r, num_threads);
        if (fault) return fault;
        if (layer + 1 == d->layers + d->num_layers) keep_wanted(d, s, &r);
        fault = add_product(d, &r, &layer->output, r.attended, layer->output_norm, num_threads);
        if (!fault) fault = feed_forward(d, layer, &r, num_threads);
        if (fault) return fault;
    }
    return DONE;
}
