/* What the C files of this folder have in common: their arguments and each other's functions. */
#include "team.h"
#include "narrow.h"

/* W [outputs, in] in panels (linear.c). */
typedef struct {
    const uint8_t *panels;      /* [outputs / PANEL, in, PANEL] */
    const float *scales, *bias; /* [outputs], or NULL */
    int64_t format, in, outputs; /* FLOAT32, BFLOAT16, FLOAT16, GROUPS4, GROUPS8, or INT8, which is signed here */
} Matrix;

/* out = x · Wᵀ * scales + bias, plus what is in out if `add`. Returns DONE, or NO_MEMORY. */
int panel_product(const Matrix *m, const float *x, int64_t x_stride, float *out, int64_t rows, int add,
                  int num_threads);

/* out = x / sqrt(mean(x^2) + eps) * (weight + offset); out may be x. */
void rms_norm(const float *x, int64_t x_stride, const float *weight, float offset, float eps, float *out, int64_t rows,
              int64_t dim, int num_threads);

typedef struct {
    const float *q, *k, *v;         /* of a token [H, D], [Hkv, D], [Hkv, D]; the next one's a stride further */
    const float *cosine, *sine;     /* [T, D / 2] */
    const int64_t *slots;           /* [T]: page * P + offset */
    float *rotated;                 /* [T, H, D] */
    Store kv;                       /* [2, N, Hkv, P, D] */
    int64_t q_stride, k_stride, v_stride, num_tokens, num_heads, num_kv_heads, head_dim, page_size, num_pages;
    const float *q_norm, *k_norm;   /* [D], of heads before they are rotated; NULL: none */
    float norm_offset, eps;
} Placing;

int rotate_and_write(const Placing *a, int num_threads);

void gated(const float *gate, const float *up, int64_t stride, int64_t gelu, float *out, int64_t rows, int64_t dim,
           int num_threads);

typedef struct {
    const float *q; /* [T, H, D] */
    float *out;     /* [T, H, D] */
    Store kv;       /* [2, N, Hkv, P, D] */
    const int32_t *tables, *query_start, *context_lens; /* [B, max_pages], [B + 1], [B] */
    int64_t table_stride, max_pages, num_tokens, num_sequences, num_heads, num_kv_heads, head_dim, page_size, num_pages;
    int64_t window; /* tokens a row sees at most, itself included */
    float scale;
} Attention;

/* What functions return; attention.py and decoder.py say it in words. */
enum { DONE, NO_MEMORY, BAD_ROWS, BAD_CONTEXT, BAD_PAGE, BAD_SLOT, BAD_ROW };

int paged_attention(const Attention *a, int num_threads);
