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
    # BEGIN SOLUTION
    if not 0 < utilisation <= 1:
        raise ValueError(f"a utilisation of {utilisation} was given; it is above 0 and at most 1")
    return price_per_hour / (tokens_per_second * 3600 * utilisation) * 1e6
    # END SOLUTION


def break_even(price_per_hour: float, tokens_per_second: float, others_per_million: float) -> float:
    """The utilisation from which on this machine is no dearer than somebody who asks ``others_per_million`` dollars.
    Above 1 means never.
    """
    # BEGIN SOLUTION
    return per_million(price_per_hour, tokens_per_second) / others_per_million
    # END SOLUTION


def replicas_for(tokens_per_second: float, of_one: float, most_utilisation: float, spare: int = 0) -> int:
    """Replicas for a demand of ``tokens_per_second``, each of which makes ``of_one`` and is loaded to at most the share
    ``most_utilisation``; and ``spare`` more, so that so many may be lost. At least one works.
    """
    # BEGIN SOLUTION
    return max(1, math.ceil(tokens_per_second / (of_one * most_utilisation))) + spare
    # END SOLUTION


# Why: price and utilisation count for as much as speed does. A kernel that is twice as fast on a machine that is used
# to a tenth saves less than a router that fills it; and a spare replica is utilisation that you decide to give away.
