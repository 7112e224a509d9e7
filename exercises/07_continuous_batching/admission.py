"""Who may come in: pages, places, a watermark, and nobody waits for ever.

Two answers to "may one more come in?", each asked before any page is taken.

``Watermark`` is a policy of the engine: ``LLM(..., admission=Watermark(0.05))`` serves with yours. A request that takes
the very last pages comes in, runs one step, and is thrown out in the next, when somebody needs a page to go on. So a
share of the pool is kept for those inside.

``admit`` decides about the *line*. When the first in line does not fit, a smaller one behind it may: that fills the
machine, but if small ones keep coming the large one never fits. So overtaking is bounded: nobody is overtaken more
than ``most`` times. 0 is strict first come first served.

    10 pages free, keep 2, line: A wants 12, B wants 3, C wants 6, D wants 4; most = 1
    A does not fit. B does (7 are left): A was overtaken once. Now nobody passes A any more, and [B] is all.
"""

from dataclasses import dataclass

from pagedlab.scheduling.admission import AdmissionPolicy, Inside
from pagedlab.scheduling.request import Sequence


class Watermark(AdmissionPolicy):
    """Whoever leaves at least ``share`` of the pool's pages available comes in."""

    def __init__(self, share: float = 0.01) -> None:
        self.share = share

    def admits(self, sequence: Sequence, inside: Inside) -> bool:
        """May ``sequence`` come in, with all the tokens that it has (``sequence.num_tokens``)?

        Of ``inside.manager`` you need: ``num_available`` (pages that can be had now), ``pool.num_pages``, and
        ``pages_to_admit(sequence.id, sequence.token_ids, num_tokens, sequence.request.salt)``: how many of those
        available it would use, what it finds in the prefix cache considered.
        """
        raise NotImplementedError("07.admission: admits is yours to write")


@dataclass
class Waiting:
    """One in line."""

    name: str
    pages: int  #: that it needs to come in
    overtakes: int = 0  #: how often somebody behind it came in first


def admit(waiting: list[Waiting], num_free: int, places: int, keep: int, most: int) -> list[Waiting]:
    """Who comes in, in order; they leave ``waiting``, whose order stays.

    From the first to the last: one that fits, with ``keep`` of the ``num_free`` pages left over, comes in, as long as
    ``places`` are left. One that does not fit stays, and is overtaken by each that comes in behind it; nobody comes in
    who would overtake somebody for the ``most`` + 1st time.
    """
    raise NotImplementedError("07.admission: admit is yours to write")
