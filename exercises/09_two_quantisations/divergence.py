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
    raise NotImplementedError("09.divergence: log_probabilities is yours to write")


def divergence(exact: Tensor, rounded: Tensor) -> Tensor:
    """``KL(p ‖ q)`` from the logits of both, ``[..., V]`` -> ``[...]``, in nats."""
    raise NotImplementedError("09.divergence: divergence is yours to write")


def perplexity(logits: Tensor, tokens: Tensor) -> float:
    """e to the mean surprise: ``logits: [T, V]`` predicted ``tokens: [T]``, which came. 1.0 is a perfect guess."""
    raise NotImplementedError("09.divergence: perplexity is yours to write")
