"""Your engine serves a real model.

Everything you wrote, plugged into ``LLM(...)``. It takes objects and classes of your own by name: ``manager`` and
``scheduler`` are classes that it makes with the engine's knobs, ``pool``, ``prefix_cache`` and ``attention`` are
objects made before. All that is missing is the call.
"""

from typing import Any

from pagedlab import LLM
from pagedlab.learn import solved

PagePool = solved("03.pool").PagePool
PrefixCache = solved("08.prefix_cache").PrefixCache
Manager = solved("13.film").FilmedManager
Scheduler = solved("07.scheduler").BudgetScheduler
attend = solved("13.attention").attend


def serve(model: Any, *, num_pages: int = 96, page_size: int = 16, **knobs: Any) -> LLM:
    """An LLM over ``model`` (a name, or a model that is loaded) in which all five parts are yours.

    Its memory: ``num_pages`` pages of ``page_size`` tokens. Other ``knobs`` go to LLM as they are.
    """
    # BEGIN SOLUTION
    return LLM(
        model,
        page_size=page_size,
        num_pages=num_pages,
        pool=PagePool(num_pages),
        prefix_cache=PrefixCache(page_size),
        manager=Manager,
        scheduler=Scheduler,
        attention=attend,
        **knobs,
    )
    # END SOLUTION


# Why: an engine is five parts that know little of each other. The scheduler knows numbers of tokens, the manager pages,
# the cache content, the kernel addresses; each was tested alone, so that today nothing new can go wrong.
