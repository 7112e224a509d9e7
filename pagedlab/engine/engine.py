"""Engine: the step loop. Requests go in, tokens come out, and every page is accounted for in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from pagedlab.engine.detokenizer import OutputText
from pagedlab.engine.kv_cache import KVCache
from pagedlab.engine.outputs import CompletionOutput, RequestMetrics, RequestOutput
from pagedlab.engine.runner import ModelRunner
from pagedlab.engine.sampler import Sampled, Sampler
from pagedlab.errors import InvalidConfig, InvalidRequest, StepFailed
from pagedlab.memory.events import Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.pool import PagePool
from pagedlab.memory.prefix_cache import PrefixCache
from pagedlab.memory.prefix_hash import HashPrefixCache
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.plan import StepPlan
from pagedlab.scheduling.policy import Policy
from pagedlab.scheduling.request import FinishReason, Request, Sequence
from pagedlab.scheduling.sampling import SamplingParams
from pagedlab.scheduling.scheduler import Limits, Scheduler
from pagedlab_kernels import get_attention
from pagedlab_kernels.batch import AttentionFn


@dataclass
class _Live:
    """What the engine keeps of a request until it is finished, beside what the scheduler keeps."""

    request: Request
    prompt: str | None
    metrics: RequestMetrics
    texts: dict[int, OutputText] = field(default_factory=dict)
    logprobs: dict[int, list[dict[int, float]]] = field(default_factory=dict)


class Engine:
    """``page_size`` and ``num_pages`` size the pool; ``max_tokens_per_step`` and ``max_sequences`` bound a step;
    ``max_context`` bounds a sequence, in tokens.

    ``prefix_cache``, ``attention``, ``policy`` and ``pool`` take a name or an object of your own.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        page_size: int = 16,
        num_pages: int = 512,
        max_tokens_per_step: int = 512,
        max_sequences: int = 64,
        max_context: int | None = None,
        prefix_cache: str | PrefixCache | None = "hash",
        attention: str | AttentionFn | None = None,
        policy: Policy | None = None,
        pool: PagePool | None = None,
        seed: int = 0,
        trace: bool = True,
    ) -> None:
        self.config, self.model, self.tokenizer = loaded.config, loaded.model, loaded.tokenizer
        if page_size < 1 or num_pages < 1:
            raise InvalidConfig(
                f"page_size={page_size} and num_pages={num_pages} were asked for; both must be at least 1"
            )
        if max_context is not None and max_context > self.config.max_context:
            raise InvalidConfig(
                f"max_context={max_context} was asked for; {loaded.name} can take {self.config.max_context} tokens"
            )
        num_pages = num_pages if pool is None else pool.num_pages
        parameter = next(self.model.parameters())
        self.kv = KVCache(self.config, num_pages, page_size, parameter.dtype, parameter.device)
        self.trace = Trace(num_pages, page_size) if trace else None
        if self.trace is not None and self.tokenizer is not None:
            self.trace.piece = self.tokenizer.piece
        self.manager = CacheManager(
            num_pages, page_size, prefix_cache=_prefix_cache(prefix_cache, page_size), pool=pool, trace=self.trace
        )
        limits = Limits(max_tokens_per_step, max_sequences, max_context or self.config.max_context)
        self.scheduler = Scheduler(self.manager, limits, policy, self.config.eos_token_ids)
        if attention is None:
            attention = "cpu" if parameter.device.type == "cpu" else "triton"
        attend = get_attention(attention) if isinstance(attention, str) else attention
        self.runner = ModelRunner(self.model, self.kv, self.manager, attend)
        self.sampler = Sampler(self.config.eos_token_ids)
        self.seed = seed
        self.listeners: list[Callable[[StepPlan], None]] = []  #: called after every step: live views
        self._live: dict[str, _Live] = {}
        self._num_added = 0

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
    ) -> str:
        """Put a request in line and return its id. One that can never be served raises InvalidRequest here."""
        request_id = request_id if request_id is not None else str(self._num_added)
        if request_id in self._live:
            raise InvalidRequest(f"a request named {request_id} is running already; choose another id")
        params = params or SamplingParams()
        prompt_ids = self._encode(prompt)
        self._refuse_unknown_tokens(request_id, [*prompt_ids, *(params.logit_bias or {}), *params.stop_token_ids])
        if params.stop and self.tokenizer is None:
            raise InvalidRequest(
                f"request {request_id} has stop strings, but this model has no tokenizer; use stop_token_ids"
            )
        seed = params.seed if params.seed is not None else (self.seed << 32) + self._num_added
        request = Request(request_id, prompt_ids, params, priority=priority, salt=salt, seed=seed)
        self.scheduler.add(request)
        self._num_added += 1
        text = prompt if isinstance(prompt, str) else None
        self._live[request_id] = _Live(request, text, RequestMetrics(time.perf_counter()))
        return request_id

    def step(self) -> list[RequestOutput]:
        """One pass through the model. Returns the requests that got tokens or ended, as they stand now.

        A step that fails raises StepFailed: its sequences end with finish_reason "error", the others run on. So they do
        after an interrupt (Ctrl-C), which is passed on as it is.
        """
        if not self.has_work:
            return []
        plan = self.scheduler.schedule()
        try:
            sampled = self.sampler(self.runner.run(plan), [row.sequence for row in plan.samples])
        except BaseException as error:
            failed = dict.fromkeys(sequence.request.id for sequence in self.scheduler.abandon(plan))
            outputs = [self._output(request_id) for request_id in failed]
            if not isinstance(error, Exception):
                raise
            message = f"step {plan.step} failed, and with it requests {', '.join(failed)}: {error}"
            raise StepFailed(message, outputs) from error
        self.scheduler.commit(plan, [choice.token for choice in sampled])
        now = time.perf_counter()
        touched: dict[str, None] = {}  # requests in order; one that was aborted while the step ran is not among them
        for row, choice in zip(plan.samples, sampled, strict=True):
            if self.is_running(row.sequence.request.id):
                self._take(row.sequence, choice, now)
                touched[row.sequence.request.id] = None
        for listener in self.listeners:
            listener(plan)
        return [self._output(request_id) for request_id in touched]

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

    def check(self) -> None:
        """Prove the memory invariants now; raises InvariantViolation."""
        self.manager.check()

    # A token, a request

    def _take(self, sequence: Sequence, choice: Sampled, now: float) -> None:
        live, params = self._live[sequence.request.id], sequence.request.params
        metrics = live.metrics
        metrics.first_token = metrics.first_token if metrics.first_token is not None else now
        metrics.last_token = now
        metrics.num_output = max(metrics.num_output, sequence.num_output)
        if choice.logprobs is not None:
            live.logprobs.setdefault(sequence.index, []).append(choice.logprobs)
        if self.tokenizer is None:
            return
        text = live.texts.get(sequence.index)
        if text is None:
            text = live.texts[sequence.index] = OutputText(self.tokenizer, params.stop)
        if sequence.finish_reason is not FinishReason.STOP:  # a token that stops is not part of the text
            stop = text.push(choice.token, may_stop=sequence.num_output >= params.min_tokens)
            if stop is not None:
                self.scheduler.finish(sequence, FinishReason.STOP)
                sequence.finish_reason, sequence.stop_reason = FinishReason.STOP, stop

    def _output(self, request_id: str) -> RequestOutput:
        live = self._live[request_id]
        request = live.request
        if request.finished:
            del self._live[request_id]
        return RequestOutput(
            request_id=request_id,
            prompt=live.prompt,
            prompt_token_ids=request.prompt_ids,
            outputs=[self._completion(live, sequence) for sequence in request.sequences],
            finished=request.finished,
            num_cached_tokens=request.sequences[0].num_cached,
            num_preemptions=sum(sequence.num_preemptions for sequence in request.sequences),
            metrics=live.metrics,
        )

    def _completion(self, live: _Live, sequence: Sequence) -> CompletionOutput:
        text, token_ids = live.texts.get(sequence.index), sequence.output_ids
        if text is not None and sequence.finish_reason is not None:
            stopped_by_token = sequence.finish_reason is FinishReason.STOP and not isinstance(sequence.stop_reason, str)
            text.finish(token_ids[:-1] if stopped_by_token else token_ids)
        logprobs = live.logprobs.get(sequence.index, []) if live.request.params.logprobs is not None else None
        return CompletionOutput(
            index=sequence.index,
            text="" if text is None else text.text,
            token_ids=token_ids,
            logprobs=None if logprobs is None else list(logprobs),
            finish_reason=sequence.finish_reason,
            stop_reason=sequence.stop_reason,
        )

    def _encode(self, prompt: str | list[int]) -> list[int]:
        if not isinstance(prompt, str):
            return list(prompt)
        if self.tokenizer is None:
            raise InvalidRequest("the prompt is text, but this model has no tokenizer; give it a list of token ids")
        return self.tokenizer.encode(prompt)

    def _refuse_unknown_tokens(self, request_id: str, tokens: list[int]) -> None:
        unknown = [token for token in tokens if not 0 <= token < self.config.vocab_size]
        if unknown:
            raise InvalidRequest(
                f"request {request_id} names token {unknown[0]}; the model has tokens 0 to {self.config.vocab_size - 1}"
            )


def _prefix_cache(choice: str | PrefixCache | None, page_size: int) -> PrefixCache | None:
    if not isinstance(choice, str):
        return choice
    if choice == "none":
        return None
    if choice == "hash":
        return HashPrefixCache(page_size)
    raise InvalidConfig(f"prefix_cache={choice!r} was asked for; there are 'none', 'hash' and objects of your own")
