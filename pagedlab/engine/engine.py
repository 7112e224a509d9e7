"""Engine: the step loop. Requests go in, tokens come out, and every page is accounted for in between."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from torch import Tensor

from pagedlab.engine.beam_search import BeamSearch
from pagedlab.engine.kv_cache import KVCache
from pagedlab.engine.live import Live
from pagedlab.engine.outputs import RequestMetrics, RequestOutput
from pagedlab.engine.runner import ModelRunner
from pagedlab.engine.sampler import Sampled, Sampler
from pagedlab.engine.structured import Grammars
from pagedlab.errors import InvalidConfig, InvalidRequest, StepFailed
from pagedlab.memory.events import EventKind, FinishCode, Trace
from pagedlab.memory.eviction import EvictionOrder, Retention
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.pool import PagePool
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.models.catalog import LoadedModel
from pagedlab.models.lora import LoraAdapter, load_adapter
from pagedlab.scheduling.admission import AdmissionPolicy
from pagedlab.scheduling.assemble import assemble
from pagedlab.scheduling.delay import Delay
from pagedlab.scheduling.drafts import Drafter
from pagedlab.scheduling.limits import refuse_impossible_pool
from pagedlab.scheduling.order import Order
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.request import FinishReason, Request
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Scheduler
from pagedlab.scheduling.victims import VictimChoice
from pagedlab_kernels import get_attention, why_not_triton
from pagedlab_kernels.batch import AttentionFn


@dataclass(frozen=True)
class AdapterSalt:
    """A type of its own: no salt that a caller chooses can be equal to it."""

    adapter: str
    salt: Hashable


class Engine:
    """Serves ``loaded`` from a pool of ``num_pages`` pages of ``page_size`` tokens.

    ``max_tokens_per_step`` and ``max_sequences`` bound a step, ``max_context`` a sequence, in tokens; nobody waits
    while more than ``max_overtakes`` later ones come in. ``kv_dtype``: how keys and values are stored (the model's own
    dtype if None). ``num_host_pages`` of host memory keep cached pages that the device evicts, and with
    ``preemption="swap"`` the pages of sequences that had to give way.

    These take a name or an object of your own: ``prefix_cache`` (none, hash, radix), ``eviction`` (lru, lfu, fifo,
    priority), ``order`` (fcfs, priority, shortest, longest_prefix, depth_first), ``admission`` (max_utilisation,
    whole_prompt, reserve_everything, guaranteed_no_evict, optimistic_ratio), ``victim`` (last_in_line, last_arrived,
    lowest_priority, least_output), ``delay`` (none, shared_page), ``drafter`` (prompt_lookup), ``attention``
    (reference, cpu, triton) and ``pool``. In place of the classes CacheManager and Scheduler, ``manager`` and
    ``scheduler`` may name others that are made and behave as they do. ``mixed=False``: who decodes stands still while
    somebody comes in. ``adapters``: LoRA adapters by name, each a folder as PEFT writes it, which requests may ask for.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        page_size: int = 16,
        num_pages: int = 512,
        num_host_pages: int = 0,
        max_tokens_per_step: int = 512,
        max_sequences: int = 64,
        max_context: int | None = None,
        max_overtakes: int = 256,
        kv_dtype: str | None = None,
        prefix_cache: str | PrefixCache | None = "hash",
        partial_hits: bool = False,
        eviction: str | EvictionOrder = "lru",
        preemption: str = "recompute",
        order: str | Order = "fcfs",
        admission: str | AdmissionPolicy = "max_utilisation",
        victim: str | VictimChoice = "last_in_line",
        delay: str | Delay | None = None,
        mixed: bool = True,
        drafter: str | Drafter | None = None,
        attention: str | AttentionFn | None = None,
        adapters: Mapping[str, str | Path | LoraAdapter] | None = None,
        pool: PagePool | None = None,
        manager: Callable[..., CacheManager] = CacheManager,
        scheduler: Callable[..., Scheduler] = Scheduler,
        seed: int = 0,
        trace: bool = True,
    ) -> None:
        self.config, self.model, self.tokenizer = loaded.config, loaded.model, loaded.tokenizer
        if max_context is not None and max_context > self.config.max_context:
            raise InvalidConfig(
                f"max_context={max_context} was asked for; {loaded.name} can take {self.config.max_context} tokens"
            )
        refuse_impossible_pool(page_size, num_pages, num_host_pages)
        num_pages = num_pages if pool is None else pool.num_pages
        self.model.prepare()
        kv_dtype = kv_dtype or str(self.model.dtype).removeprefix("torch.").replace("float64", "float32")
        on_cpu = self.model.device.type == "cpu"
        if attention is None:
            attention = "cpu" if on_cpu else "triton"
        attend = get_attention(attention) if isinstance(attention, str) else attention
        # On a GPU, Triton's kernels move keys and values, whoever attends. On a CPU they are slow: only if asked for.
        triton = attention == "triton" or (not on_cpu and why_not_triton() is None)
        self.kv = KVCache(self.config, num_pages, page_size, kv_dtype, self.model.device, num_host_pages, triton)
        self.trace = Trace(num_pages, page_size) if trace else None
        if self.trace is not None and self.tokenizer is not None:
            self.trace.piece = self.tokenizer.piece
        self.scheduler = assemble(
            page_size=page_size,
            num_pages=num_pages,
            num_host_pages=num_host_pages,
            max_tokens_per_step=max_tokens_per_step,
            max_sequences=max_sequences,
            max_context=self.config.max_context if max_context is None else max_context,
            max_overtakes=max_overtakes,
            prefix_cache=prefix_cache,
            partial_hits=partial_hits,
            eviction=eviction,
            preemption=preemption,
            order=order,
            admission=admission,
            victim=victim,
            delay=delay,
            mixed=mixed,
            drafter=drafter,
            pool=pool,
            trace=self.trace,
            window=self.config.window,
            eos_token_ids=self.config.eos_token_ids,
            manager=manager,
            scheduler=scheduler,
        )
        self.manager = self.scheduler.manager
        self.adapters = {
            name: adapter
            if isinstance(adapter, LoraAdapter)
            else load_adapter(Path(adapter), self.config, dtype=self.model.dtype, device=self.model.device)
            for name, adapter in (adapters or {}).items()
        }
        self.runner = ModelRunner(
            self.model, self.kv, self.manager, attend, self.adapters, find_common_pages=attention == "triton"
        )
        self.grammars = Grammars(self.tokenizer, self.config.vocab_size, self.config.eos_token_ids)
        self.sampler = Sampler(self.config.eos_token_ids, self.grammars)
        self.seed = seed
        self.listeners: list[Callable[[StepPlan], None]] = []  #: called after every step: live views
        self._live: dict[str, Live] = {}
        self._num_added = 0
        self._num_pins = 0

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    def add_request(
        self,
        prompt: str | list[int],
        params: SamplingParams | None = None,
        *,
        request_id: str | None = None,
        priority: int = 0,
        salt: Hashable = None,
        adapter: str | None = None,
        retention: Iterable[Retention] = (),
    ) -> str:
        """Put a request in line and return its id. One that can never be served raises InvalidRequest here.

        A lower ``priority`` is more urgent. Requests with different ``salt`` share no pages, nor do those with
        different ``adapter``, the name of one that the engine was built with. ``retention``: how long the pages of
        parts of it are worth keeping once they are cached.
        """
        if request_id is None:
            request_id = next(name for name in map(str, count(self._num_added)) if name not in self._live)
        if request_id in self._live:
            raise InvalidRequest(f"a request named {request_id} is running already; choose another id")
        params = params or SamplingParams()
        prompt_ids = self._encode(prompt)
        self._refuse_unknown_tokens(request_id, [*prompt_ids, *(params.logit_bias or {}), *params.stop_token_ids])
        if params.stop and self.tokenizer is None:
            raise InvalidRequest(
                f"request {request_id} has stop strings, but this model has no tokenizer; use stop_token_ids"
            )
        self.grammars.check(params)
        seed = params.seed if params.seed is not None else (self.seed << 32) + self._num_added
        request = Request(
            request_id,
            prompt_ids,
            params,
            priority=priority,
            salt=self._salt(request_id, salt, adapter),
            seed=seed,
            retention=_wishes(request_id, retention),
            adapter=adapter,
        )
        self.scheduler.add(request)
        self._num_added += 1
        text = prompt if isinstance(prompt, str) else None
        beams = BeamSearch(request, self.scheduler, self.config.eos_token_ids) if params.beam_width else None
        self._live[request_id] = Live(request, text, self.tokenizer, RequestMetrics(time.perf_counter()), beams)
        return request_id

    def step(self) -> list[RequestOutput]:
        """One pass through the model. Returns the requests that got tokens or ended, as they stand now.

        What goes wrong with the tokens of one request ends that request alone, with finish_reason "error". A step that
        fails as a whole raises StepFailed: the requests in it end so, the others run on. So they do after an interrupt
        (Ctrl-C), which is passed on as it is; so is an error that came before anybody had a part in the step.
        """
        if not self.has_work:
            return []
        try:
            plan = self.scheduler.schedule()
            logits = self.runner.run(plan)
            sampled = self.sampler(logits, plan.samples)
        except BaseException as error:
            failed = dict.fromkeys(sequence.request.id for sequence in self.scheduler.abandon())
            message = f"step {self.scheduler.num_steps - 1} failed, and with it requests {', '.join(failed)}: {error}"
            for request_id in failed:
                self._fail(self._live[request_id], message)
            outputs = [self._output(request_id) for request_id in failed]
            if not (failed and isinstance(error, Exception)):
                raise
            raise StepFailed(message, outputs) from error
        tokens = [[] if isinstance(one, Exception) else [choice.token for choice in one] for one in sampled]
        self.scheduler.commit(plan, tokens)
        touched = self._take_all(plan, logits, sampled, tokens)
        outputs = [self._output(request_id) for request_id in touched]
        for listener in tuple(self.listeners):
            try:
                listener(plan)
            except Exception as error:  # what was computed is not lost for somebody who only looks on
                self.listeners.remove(listener)
                warnings.warn(f"a listener failed and was dropped: {type(error).__name__}: {error}", stacklevel=2)
        return outputs

    def abort(self, request_id: str) -> RequestOutput | None:
        """Withdraw a request; its pages come back at once. None if no such request is running."""
        live = self._live.get(request_id)
        if live is None:
            return None
        for sequence in live.request.sequences:
            self.scheduler.finish(sequence, FinishReason.ABORT)
        return self._output(request_id)

    def is_running(self, request_id: str) -> bool:
        """The request was accepted and has not ended."""
        return request_id in self._live

    def pin(self, prompt: str | list[int], *, salt: Hashable = None) -> int:
        """Hold the cached pages that ``prompt`` begins with until ``unpin`` is given the name that this returns.

        Raises InvalidRequest when somebody who was accepted could not finish beside them, and OutOfPages when they are
        in host memory and there is no room for them.
        """
        name = -2 - self._num_pins  # sequences count up from 0
        self.scheduler.pin(name, self._encode(prompt), salt)
        self._num_pins += 1
        return name

    def unpin(self, name: int) -> None:
        """Raises InvalidRequest where nothing is pinned under this name."""
        if name not in self.manager.pins:
            raise InvalidRequest(f"nothing is pinned as {name}; there are pins {sorted(self.manager.pins) or 'none'}")
        self.manager.release(name)
        self.manager.record(EventKind.FINISH, sequence=name, value=FinishCode.STOP)

    def check(self) -> None:
        """Prove the memory invariants now; raises InvariantViolation."""
        self.manager.check()

    # What a step has brought

    def _take_all(
        self, plan: StepPlan, logits: Tensor, sampled: list[list[Sampled] | Exception], tokens: list[list[int]]
    ) -> list[str]:
        """Give each request what is its own. Returns those that got something, in order.

        ``tokens``: what the scheduler took, which ends where a sequence does.
        """
        now = time.perf_counter()
        touched: dict[str, Live] = {}
        row_number = 0
        for row, choices, taken in zip(plan.samples, sampled, tokens, strict=True):
            first_row, row_number = row_number, row_number + 1 + len(row.drafts)
            live = self._live.get(row.sequence.request.id)
            if live is None or live.error is not None:  # aborted while the step ran, or failed at another row
                continue
            touched[live.request.id] = live
            try:
                if isinstance(choices, Exception):
                    raise choices
                if live.beams is not None:
                    live.beams.observe(row.sequence, logits[first_row])
                else:
                    stop = live.take(row.sequence, choices[: len(taken)])
                    if stop is not None:
                        self.scheduler.finish(row.sequence, FinishReason.STOP)
                        row.sequence.finish_reason, row.sequence.stop_reason = FinishReason.STOP, stop
            except Exception as error:
                self._fail(live, f"{type(error).__name__}: {error}")
        for live in touched.values():
            try:
                if live.beams is not None and live.error is None:
                    live.beams.advance()
            except Exception as error:
                self._fail(live, f"{type(error).__name__}: {error}")
            if live.error is None:
                live.metrics.note(now, max(sequence.num_output for sequence in live.request.sequences))
        return list(touched)

    def _fail(self, live: Live, error: str) -> None:
        """One request ends with an error; nobody else notices."""
        live.error = error
        for sequence in live.request.sequences:
            self.scheduler.finish(sequence, FinishReason.ERROR)

    def _output(self, request_id: str) -> RequestOutput:
        live = self._live[request_id]
        if live.request.finished:
            del self._live[request_id]
            live.cut_short()
        return live.output()

    def _encode(self, prompt: str | list[int]) -> list[int]:
        if not isinstance(prompt, str):
            return list(prompt)
        if self.tokenizer is None:
            raise InvalidRequest("the prompt is text, but this model has no tokenizer; give it a list of token ids")
        return self.tokenizer.encode(prompt)

    def _salt(self, request_id: str, salt: Hashable, adapter: str | None) -> Hashable:
        """Keys and values under an adapter are other keys and values: its name is part of the salt."""
        try:
            hash(salt)
        except TypeError as error:
            raise InvalidRequest(f"request {request_id} has salt {salt!r}: {error}; use a text or a number") from error
        if adapter is None:
            return salt
        if adapter not in self.adapters:
            raise InvalidRequest(
                f"request {request_id} asks for adapter {adapter!r}; this engine has "
                f"{', '.join(map(repr, self.adapters)) or 'none'}: name it in Engine(adapters={{name: folder}})"
            )
        return AdapterSalt(adapter, salt)

    def _refuse_unknown_tokens(self, request_id: str, tokens: list[int]) -> None:
        last = self.config.vocab_size - 1
        for token in tokens:
            if not (isinstance(token, int) and 0 <= token <= last):
                raise InvalidRequest(f"request {request_id} names token {token!r}; the model has tokens 0 to {last}")


def _wishes(request_id: str, retention: Iterable[Retention]) -> tuple[Retention, ...]:
    wishes = tuple(retention)
    for wish in wishes:
        if not isinstance(wish, Retention):
            raise InvalidRequest(
                f"request {request_id} asks for retention {wish!r}; use pagedlab.memory.eviction.Retention"
            )
    return wishes
