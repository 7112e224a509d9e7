"""How wrong is a model that reads a rounded cache?

Do not look at a sample and nod. Compare what it *predicts*: at each place of a text, the probabilities of all tokens,
with the exact cache (p) and with the rounded one (q). The Kullback–Leibler divergence says how many nats of surprise
q costs on average, if p is right:

    KL(p ‖ q) = Σ p · (log p - log q)           0 if they are equal, never negative

Models give logits, not probabilities: log p = logits - log Σ e^logits. Logits can be large, so no exponential of one
may be taken before the largest is subtracted.
"""

from torch import Tensor


def log_probabilities(logits: Tensor) -> Tensor:
    """``[..., V]`` -> logarithms of probabilities, of plain operations (``log_softmax`` is what is asked for)."""
    # BEGIN SOLUTION
    shifted = logits - logits.amax(-1, keepdim=True)
    return shifted - shifted.exp().sum(-1, keepdim=True).log()
    # END SOLUTION


def divergence(exact: Tensor, rounded: Tensor) -> Tensor:
    """``KL(p ‖ q)`` from the logits of both, ``[..., V]`` -> ``[...]``, in nats."""
    # BEGIN SOLUTION
    p, q = log_probabilities(exact), log_probabilities(rounded)
    return (p.exp() * (p - q)).sum(-1)
    # END SOLUTION


def perplexity(logits: Tensor, tokens: Tensor) -> float:
    """e to the mean surprise: ``logits: [T, V]`` predicted ``tokens: [T]``, which came. 1.0 is a perfect guess."""
    # BEGIN SOLUTION
    chosen = log_probabilities(logits).gather(-1, tokens[:, None])
    return float((-chosen.mean()).exp())
    # END SOLUTION


# Why: KL sees changes that no sample shows, long before a token flips, and it needs no reference answer. p stands in
# front because what counts is where the exact model puts its weight: a token that it never says may move as it likes.
