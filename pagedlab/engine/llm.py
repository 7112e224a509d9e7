"""LLM: the public face. A model, its engine, and the questions one asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pagedlab.engine.engine import Engine
from pagedlab.engine.outputs import RequestOutput
from pagedlab.errors import InvalidConfig, InvalidRequest, RequestAborted, RequestFailed, StepFailed
from pagedlab.memory.events import Trace
from pagedlab.models.catalog import LoadedModel, load_model
from pagedlab.progress import progress_bar
from pagedlab.scheduling.sampling import SamplingParams

if TYPE_CHECKING:
    from pagedlab.systems import System
    from pagedlab.view.page_map import PageMapWidget

#: Text, or token ids.
Prompt = str | list[int]

#: ``{"role": "user", "content": "…"}``
Message = Mapping[str, str]


class StreamPiece(NamedTuple):
    """What a stream brought since the last piece; the text may lag behind the tokens by an unfinished character."""

    text: str
    token_ids: list[int]


class LLM:
    """``model``: a name in the catalogue, a folder, a .gguf file, a hub id, or a model that is loaded already.

    ``dtype`` and ``weights`` (None, "int8" or "int4") are how ``load_model`` is to load it. ``system``: a preset of
    ``pagedlab.systems`` (vllm, tensorrt_llm, sglang, lmdeploy, tgi), or one with options of its own. ``knobs`` are
    those of :class:`~pagedlab.engine.engine.Engine`; they override the preset's, as ``weights`` does.
    """

    def __init__(
        self,
        model: str | Path | LoadedModel,
        *,
        dtype: torch.dtype = torch.float32,
        weights: str | None = None,
        system: str | System | None = None,
        device: torch.device | str | None = None,
        progress: bool = True,
        **knobs: Any,
    ) -> None:
        if system is not None:
            from pagedlab.systems import preset

            chosen = preset(system)
            knobs = chosen.knobs() | knobs
            if weights is None and not isinstance(model, LoadedModel):
                weights = chosen.weights()
        if isinstance(model, LoadedModel):
            loaded = model
            if weights is not None:
                raise InvalidConfig(f"weights={weights!r} was asked for a model that is loaded; tell load_model")
        else:
            loaded = load_model(model, dtype=dtype, weights=weights, progress=progress)
        loaded.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.name = loaded.name
        self.engine = Engine(loaded, **knobs)
        self._boxes: dict[str, RequestOutput | None] = {}

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        adapter: str | Sequence[str | None] | None = None,
        progress: bool = True,
    ) -> list[RequestOutput]:
        """Serve all prompts together; outputs come in the prompts' order.

        ``sampling_params`` and ``adapter`` (the name of a LoRA adapter): one for all prompts, or one for each. If a
        prompt can never be served, InvalidRequest is raised and none of them is.
        """
        batch = _as_batch(prompts)
        params: Sequence[SamplingParams | None] = _one_for_each("sampling_params", sampling_params, len(batch))
        adapters: Sequence[str | None] = _one_for_each("adapter", adapter, len(batch))
        ids: list[str] = []
        finished: list[RequestOutput] = []
        try:
            for prompt, wish, name in zip(batch, params, adapters, strict=True):
                ids.append(self._add(prompt, wish, adapter=name))
            with progress_bar("Generating", len(batch), show=progress) as advance:
                for request_id in ids:
                    finished.append(self._wait_for(request_id, advance))
        finally:
            for request_id in ids:
                self._drop(request_id)
        return finished

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        progress: bool = True,
    ) -> list[RequestOutput]:
        """Answer one conversation, or several together, in the model's own chat format."""
        if self.tokenizer is None:
            raise InvalidRequest("chat needs a tokenizer with a chat template; this model has none: use generate")
        conversations = [messages] if messages and isinstance(messages[0], Mapping) else messages
        prompts = [self.tokenizer.apply_chat_template(list(conversation)) for conversation in conversations]
        return self.generate(prompts, sampling_params, progress=progress)

    def stream(self, prompt: Prompt, sampling_params: SamplingParams | None = None) -> Iterator[StreamPiece]:
        """Yield the output as it comes. Leaving the loop early withdraws the request and frees its pages.

        The request is in line from this call on: a stream that is never begun is served with the others, for nobody.
        Raises StepFailed or RequestFailed where the request ended with an error.
        """
        wish = sampling_params or SamplingParams()
        if wish.n != 1 or wish.beam_width:
            asked = f"beam_width={wish.beam_width}" if wish.beam_width else f"n={wish.n}"
            raise InvalidRequest(f"{asked} was asked for; a stream carries one sequence: use generate")
        return self._stream(self._add(prompt, sampling_params))

    def _stream(self, request_id: str) -> Iterator[StreamPiece]:
        shown_text = shown_tokens = 0
        try:
            finished = False
            while not finished:
                output = self._next(request_id)
                completion, finished = output.outputs[0], output.finished
                yield StreamPiece(completion.text[shown_text:], completion.token_ids[shown_tokens:])
                shown_text, shown_tokens = len(completion.text), len(completion.token_ids)
            if output.error is not None:
                raise RequestFailed(output.error)
        finally:
            self._drop(request_id)

    # Several callers may step one engine by turns (two streams, say): each finds its outputs in its own box.

    def _add(self, prompt: Prompt, params: SamplingParams | None, **others: Any) -> str:
        request_id = self.engine.add_request(prompt, params, **others)
        self._boxes[request_id] = None
        return request_id

    def _next(self, request_id: str) -> RequestOutput:
        """The newest output of a request, stepping the engine until there is one."""
        while (output := self._boxes[request_id]) is None:
            if not self.engine.is_running(request_id):
                raise RequestAborted(f"request {request_id} was aborted while its caller waited for it")
            try:
                self._put(self.engine.step())
            except StepFailed as failure:
                self._put(failure.outputs)
                if self._boxes[request_id] is not None:  # it was in that step
                    raise
        self._boxes[request_id] = None
        return output

    def _put(self, outputs: list[RequestOutput]) -> None:
        for output in outputs:
            if output.request_id in self._boxes:
                self._boxes[output.request_id] = output

    def _wait_for(self, request_id: str, advance: Callable[[float], None]) -> RequestOutput:
        while not (output := self._next(request_id)).finished:
            pass
        advance(1)
        return output

    def _drop(self, request_id: str) -> None:
        self._boxes.pop(request_id, None)
        self.engine.abort(request_id)

    @property
    def tokenizer(self) -> Any:
        return self.engine.tokenizer

    @property
    def trace(self) -> Trace:
        """Everything that happened to every page."""
        if self.engine.trace is None:
            raise InvalidConfig("this engine was built with trace=False; build it with trace=True to see its pages")
        return self.engine.trace

    def page_map(self) -> PageMapWidget:
        """The live page map: a widget that follows every step from now on."""
        from pagedlab.view.page_map import page_map

        widget = page_map(self.trace)
        self.engine.listeners.append(lambda plan: widget.refresh(now=not self.engine.has_work))
        return widget

    def check(self) -> None:
        """Prove the memory invariants now; raises InvariantViolation."""
        self.engine.check()

    def __repr__(self) -> str:
        manager = self.engine.manager
        return f"LLM({self.name!r}, {manager.pool.num_pages} pages × {manager.page_size} tokens)"


def _one_for_each(what: str, given: Any, count: int) -> Sequence[Any]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        return [given] * count
    if len(given) != count:
        raise InvalidRequest(f"{count} prompts came with {len(given)} {what}; give one, or one for each")
    return given


def _as_batch(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str):
        return [prompts]
    if prompts and isinstance(prompts[0], int):
        return [list(prompts)]  # type: ignore[arg-type]
    return list(prompts)  # type: ignore[arg-type]
