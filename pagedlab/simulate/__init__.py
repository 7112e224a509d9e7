"""Serving without a model: the engine's own scheduler and cache manager, on a clock that a cost model moves."""
