"""What one token leaves behind in memory, in bytes.

Every layer keeps a key and a value for each of its KV heads, and each is ``head_dim`` numbers of ``bits`` bits. Query
heads leave nothing: they ask once and are gone. Llama-3-8B has 32 layers, 32 query heads, 8 KV heads of 128 numbers:
at 16 bits a token leaves 128 KiB. Had every query head a KV head of its own, it would be four times as much.
"""


def token_bytes(num_layers: int, num_kv_heads: int, head_dim: int, bits: int = 16) -> int:
    """Bytes of keys and values of one token, in all layers. ``bits`` may be 4: two numbers share a byte."""
    # BEGIN SOLUTION
    return num_layers * 2 * num_kv_heads * head_dim * bits // 8
    # END SOLUTION


def shrinks_by(num_query_heads: int, num_kv_heads: int) -> int:
    """How many times smaller the cache is than if each query head had a KV head of its own (grouped queries)."""
    # BEGIN SOLUTION
    return num_query_heads // num_kv_heads
    # END SOLUTION


# Why: five factors, and the context is not among them: it multiplies all of them. Grouped queries divide the bill for
# good, and that is why nearly every model made since 2023 has fewer KV heads than query heads.
