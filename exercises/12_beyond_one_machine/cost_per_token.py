"""What a million tokens cost.

A machine is paid by the hour, whether it works or not; tokens are what it makes while it works. So the price of a
token has three parts: the price of the hour, the tokens a second under full load, and the share of that which the day's
traffic really asks for (*utilisation*).

    3.60 dollars an hour, 1,000 tokens a second, half used:
    3.60 / (1,000 x 3,600 x 0.5) = 2.00 dollars a million tokens
"""

import math


def per_million(price_per_hour: float, tokens_per_second: float, utilisation: float = 1.0) -> float:
    """Dollars a million tokens. Raises ValueError unless 0 < utilisation <= 1."""
    raise NotImplementedError("12.cost_per_token: per_million is yours to write")


def break_even(price_per_hour: float, tokens_per_second: float, others_per_million: float) -> float:
    """The utilisation from which on this machine is no dearer than somebody who asks ``others_per_million`` dollars.
    Above 1 means never.
    """
    raise NotImplementedError("12.cost_per_token: break_even is yours to write")


def replicas_for(tokens_per_second: float, of_one: float, most_utilisation: float, spare: int = 0) -> int:
    """Replicas for a demand of ``tokens_per_second``, each of which makes ``of_one`` and is loaded to at most the share
    ``most_utilisation``; and ``spare`` more, so that so many may be lost. At least one works.
    """
    raise NotImplementedError("12.cost_per_token: replicas_for is yours to write")
