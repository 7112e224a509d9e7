"""Serving without a model: the engine's own scheduler and cache manager, on a clock that a cost model moves."""

from pagedlab.simulate.autoscale import Autoscaler
from pagedlab.simulate.cost import Roofline
from pagedlab.simulate.disaggregate import Disaggregated
from pagedlab.simulate.failures import Failure
from pagedlab.simulate.fleet import Fleet
from pagedlab.simulate.results import Results
from pagedlab.simulate.simulator import Simulator
from pagedlab.simulate.workload import WORKLOADS

__all__ = ["WORKLOADS", "Autoscaler", "Disaggregated", "Failure", "Fleet", "Results", "Roofline", "Simulator"]
