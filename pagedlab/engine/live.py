"""Live: what the engine keeps of a request until it has ended, and what it tells of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

from pagedlab.engine.beam_search import BeamSearch, Hypothesis
from pagedlab.engine.detokenizer import OutputText
from pagedlab.engine.outputs import CompletionOutput, RequestMetrics, RequestOutput
from pagedlab.engine.sampler import Sampled
from pagedlab.models.tokenizer import Tokenizer
from pagedlab.scheduling.request import FinishReason, Request, Sequence


@dataclass
class Live:
    request: Request
    prompt: str | None  #: None when it was given as token ids
    tokenizer: Tokenizer | None
    metrics: RequestMetrics
    beams: BeamSearch | None = None
    error: str | None = None
    texts: dict[int, OutputText] = field(default_factory=dict)
    logprobs: dict[int, list[dict[int, float]]] = field(default_factory=dict)
    totals: dict[int, float] = field(default_factory=dict)  #: of the log probabilities of a sequence's tokens

    def take(self, sequence: Sequence, choices: list[Sampled]) -> str | None:
        """New tokens, which ``sequence`` has already. A stop string in them is returned; what follows it is undone."""
        params = self.request.params
        text = self.texts.get(sequence.index)
        if text is None and self.tokenizer is not None:
            text = self.texts[sequence.index] = OutputText(self.tokenizer, params.stop)
        end = sequence.num_output
        for number, choice in enumerate(choices, start=end - len(choices) + 1):
            if choice.logprobs is not None:
                self.logprobs.setdefault(sequence.index, []).append(choice.logprobs)
                self.totals[sequence.index] = self.totals.get(sequence.index, 0.0) + choice.logprobs[choice.token]
            if text is None or (number == end and sequence.finish_reason is FinishReason.STOP):
                continue  # a token that stops is not part of the text
            stop = text.push(choice.token, may_stop=number >= params.min_tokens)
            if stop is not None:
                del sequence.token_ids[self.request.num_prompt + number :]
                return stop
        if text is not None and sequence.finish_reason is not None:
            text.finish()
        return None

    def cut_short(self) -> None:
        """No more is to come, whatever was expected: text that was held back is shown, if it can be."""
        for text in self.texts.values():
            with suppress(Exception):  # there is nobody left to fail
                text.finish()

    def output(self) -> RequestOutput:
        """The request as it stands now."""
        request = self.request
        if self.beams is not None:
            outputs = [self._beam(*numbered) for numbered in enumerate(self.beams.best())]
        else:
            outputs = [self._completion(sequence) for sequence in request.sequences]
        return RequestOutput(
            request_id=request.id,
            prompt=self.prompt,
            prompt_token_ids=request.prompt_ids,
            outputs=outputs,
            finished=request.finished,
            num_cached_tokens=request.sequences[0].num_cached,
            num_preemptions=sum(sequence.num_preemptions for sequence in request.sequences),
            metrics=replace(self.metrics),
            error=self.error,
        )

    def _completion(self, sequence: Sequence) -> CompletionOutput:
        text = self.texts.get(sequence.index)
        logprobs = None
        if self.request.params.logprobs is not None:
            logprobs = list(self.logprobs.get(sequence.index, []))
        return CompletionOutput(
            index=sequence.index,
            text="" if text is None else text.text,
            token_ids=sequence.output_ids,
            logprobs=logprobs,
            finish_reason=sequence.finish_reason,
            stop_reason=sequence.stop_reason,
            cumulative_logprob=None if logprobs is None else self.totals.get(sequence.index, 0.0),
        )

    def _beam(self, index: int, beam: Hypothesis) -> CompletionOutput:
        shown = beam.output_ids[:-1] if beam.finish_reason is FinishReason.STOP else beam.output_ids
        return CompletionOutput(
            index=index,
            text="" if self.tokenizer is None else self.tokenizer.decode(shown),
            token_ids=beam.output_ids,
            logprobs=None,
            finish_reason=beam.finish_reason,
            stop_reason=beam.stop_reason,
            cumulative_logprob=beam.logprob,
        )
