"""Open-loop arrivals: requests come when they come, whether the server is ready or not.

Users do not know of each other, so their requests form a Poisson process: the gaps between them are independent and
exponentially distributed with mean 1 / rate. That is burstier than it sounds: gaps have a standard deviation as large
as their mean, and a bunch of arrivals is what fills a queue although the average would fit.

With a rate of 4 a second the mean gap is 0.25 s. A gap from a uniform random number u in [0, 1): -log(1 - u) / rate.
"""

# BEGIN SOLUTION
from random import Random

# END SOLUTION


def poisson_arrivals(rate: float, count: int, seed: int) -> list[float]:
    """When each of ``count`` requests arrives, in seconds from the start, at ``rate`` a second on average.

    The first one comes after a gap too, not at 0. The same seed gives the same arrivals, whatever else draws random
    numbers, and nothing else is disturbed. The same seed at twice the rate gives the same pattern twice as fast, so
    that runs at different rates compare. Raises ValueError when ``rate`` is not above 0.
    """
    # BEGIN SOLUTION
    if rate <= 0:
        raise ValueError(f"a rate of {rate} a second was asked for; it must be above 0")
    draw, now, arrivals = Random(seed), 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        arrivals.append(now)
    return arrivals
    # END SOLUTION


# Why: times are fixed before the first request is sent, so a slow server cannot slow its own load down. Evenly spaced
# arrivals would never queue below capacity, and flatter every server.
