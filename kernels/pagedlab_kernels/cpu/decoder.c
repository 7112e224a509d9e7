/* All layers of a plain decoder, from the residual stream to the residual stream.
 *
 * The idea. A layer is nine calls of what the other files have. From Python each of them costs 5 to 15 microseconds of
 * tensors, checks and dispatch, with SmolLM2's 30 layers some 4 milliseconds a step: as much as half of what reading
 * its weights takes in 8 bits. Here a step is one call.
 *
 * What is added to the residual stream is added by the product that makes it.
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
    float *hidden;                            /* [T, hidden] */
    float *scratch;                           /* of scratch_size(T) floats */
    const float *cosine[2], *sine[2];         /* [T, D / 2], of global layers and of local ones */
    const int64_t *slots;                     /* [T] */
    const int32_t *tables, *query_start, *context_lens;
    int64_t table_stride, max_pages, max_context, num_tokens, num_sequences, page_size, num_pages;
} Step;

/* What a product with x gives, by way of `norm` if there is one, is added to the residual stream. */
static int add_product(const Decoder *d, const Step *s, const Matrix *m, const float *x, const float *norm,
                       float *normed, int num_threads) {
    const int64_t rows = s->num_tokens;
    if (!norm) return panel_product(m, x, m->in, s->hidden, rows, 1, num_threads);
    const int fault = panel_product(m, x, m->in, normed, rows, 0, num_threads);
    rms_norm(normed, d->hidden, norm, d->norm_offset, d->eps, normed, rows, d->hidden, num_threads);
    for (int64_t i = 0; i < rows * d->hidden; i++) s->hidden[i] += normed[i];
    return fault;
}

/* Returns what paged_attention and panel_product return, or -1 for a slot that is not in the pool. */
int decoder(const Decoder *d, const Step *s, int num_threads) {
    const int64_t rows = s->num_tokens, q_size = d->num_heads * d->head_dim, kv_size = d->num_kv_heads * d->head_dim;
    const int64_t fused_size = q_size + 2 * kv_size, width = d->width;
    float *normed = s->scratch, *fused = normed + rows * d->hidden, *q = fused + rows * fused_size;
    float *attended = q + rows * q_size, *wide = attended + rows * q_size, *gate = wide + rows * 2 * width;
    for (const Layer *layer = d->layers; layer < d->layers + d->num_layers; layer++) {
        rms_norm(s->hidden, d->hidden, layer->input_norm, d->norm_offset, d->eps, normed, rows, d->hidden, num_threads);
        int fault = panel_product(&layer->qkv, normed, d->hidden, fused, rows, 0, num_threads);
        if (fault) return fault;
        const Placing placing = {
            .q = fused, .k = fused + q_size, .v = fused + q_size + kv_size,
            .cosine = s->cosine[layer->local], .sine = s->sine[layer->local], .slots = s->slots,
            .rotated = q, .kv = layer->kv,
            .q_norm = layer->q_norm, .k_norm = layer->k_norm, .norm_offset = d->norm_offset, .eps = d->eps,
            .q_stride = fused_size, .k_stride = fused_size, .v_stride = fused_size,
            .num_tokens = rows, .num_heads = d->num_heads, .num_kv_heads = d->num_kv_heads,
            .head_dim = d->head_dim, .page_size = s->page_size, .num_pages = s->num_pages,
        };
        if (rotate_and_write(&placing, num_threads)) return -1;
        const Attention attention = {
            .q = q, .out = attended, .kv = layer->kv,
            .tables = s->tables, .query_start = s->query_start, .context_lens = s->context_lens,
            .table_stride = s->table_stride, .max_pages = s->max_pages,
            .num_tokens = rows, .num_sequences = s->num_sequences,
            .num_heads = d->num_heads, .num_kv_heads = d->num_kv_heads,
            .head_dim = d->head_dim, .page_size = s->page_size, .num_pages = s->num_pages,
            .window = layer->window ? layer->window : s->max_context, .scale = d->scale,
        };
        fault = paged_attention(&attention, num_threads);
        if (!fault) fault = add_product(d, s, &layer->output, attended, layer->output_norm, normed, num_threads);
        if (fault) return fault;

        rms_norm(s->hidden, d->hidden, layer->mlp_input_norm, d->norm_offset, d->eps, normed, rows, d->hidden, num_threads);
        fault = panel_product(&layer->gate_and_up, normed, d->hidden, wide, rows, 0, num_threads);
        if (fault) return fault;
        gated(wide, wide + width, 2 * width, d->gelu, gate, rows, width, num_threads);
        fault = add_product(d, s, &layer->down, gate, layer->mlp_output_norm, normed, num_threads);
        if (fault) return fault;
    }
    return 0;
}
