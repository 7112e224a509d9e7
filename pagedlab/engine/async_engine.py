"""AsyncEngine: one engine for many callers at once. Its step loop has a thread of its own, so nobody waits for it.

Two threads, and each thing belongs to one of them. The step loop's thread alone touches the engine: what callers want
(a request, an abort) lies in an inbox that is emptied between steps. The event loop's thread alone touches callers:
what a step brought lies in an outbox, in which the newest output of a request replaces the one before. Outputs are
cumulative: a slow caller misses nothing but states in between, and costs no memory.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from pagedlab.engine.engine import Engine
from pagedlab.engine.outputs import RequestOutput
from pagedlab.errors import EngineBusy, EngineClosed, InvalidConfig, StepFailed
from pagedlab.scheduling.sampling import SamplingParams


class AsyncEngine:
    """Serves ``engine``, which nobody else may step meanwhile::

        async with AsyncEngine(LLM("smollm2-135m").engine) as serving:
            async for output in serving.generate("Pages are"):
                print(output.outputs[0].text)

    ``max_waiting``: requests that may wait for their first token; further callers wait outside, in the order they came.
    Leaving the block lets accepted requests end; leaving it with an exception aborts them.
    """

    def __init__(self, engine: Engine, *, max_waiting: int | None = None) -> None:
        if max_waiting is not None and max_waiting < 1:
            raise InvalidConfig(f"max_waiting={max_waiting} was asked for; it must be at least 1, or None for no bound")
        self.engine, self.max_waiting = engine, max_waiting
        self._line = None if max_waiting is None else asyncio.Semaphore(max_waiting)
        self._closed: str | None = "the engine is not running: use it in `async with`"
        self._death: BaseException | None = None
        self._entered = False
        self._callers: set[_Caller] = set()
        self._has_ended = asyncio.Event()
        # Shared by both threads, under the lock of `_wake`:
        self._wake = threading.Condition()
        self._inbox: list[Callable[[], None]] = []
        self._outbox: dict[_Caller, RequestOutput | Exception] = {}
        # The loop's thread's own:
        self._served: dict[str, _Caller] = {}
        self._stopping = False

    # The event loop's thread

    async def __aenter__(self) -> Self:
        if self._entered:
            raise EngineClosed("this AsyncEngine was entered before; make another one for the engine")
        self._entered, self._closed = True, None
        self._event_loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, name="pagedlab-steps", daemon=True).start()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown(drain=error_type is None)

    async def generate(
        self,
        prompt: str | list[int],
        params: SamplingParams | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        **options: Any,
    ) -> AsyncGenerator[RequestOutput, None]:
        """Yield the request as it stands, whenever it has come further; the last output is ``finished``.

        What goes wrong with it on the way (its step, a logits processor) ends it: its last output has ``error`` set.
        Leaving the loop or cancelling the task withdraws it, and its pages come back before the next step; who keeps
        the generator under a name leaves by ``aclose()``. ``options`` are those of Engine.add_request.

        Raises InvalidRequest for one that can never be served, EngineBusy where as many wait as may and ``wait`` is
        false, EngineClosed after shutdown and when the loop has died.
        """
        params = params or SamplingParams()
        caller = _Caller(request_id)
        await self._stand_in_line(caller, wait)
        self._callers.add(caller)
        try:
            if params.constraint is not None:  # compiling may take a while: neither loop waits for it
                await asyncio.to_thread(self.engine.grammars.check, params)
            self._refuse_if_closed()
            self._post(partial(self._add, caller, prompt, params, options))
            while True:
                output = await caller.news()
                yield output
                if output.finished:
                    break
        finally:
            self._callers.discard(caller)
            caller.leave_line()
            self._post(partial(self._withdraw, caller))

    def abort(self, request_id: str) -> None:
        """Withdraw somebody's request: its caller gets a last output, with finish_reason "abort"."""
        self._post(partial(self._abort, request_id))

    async def shutdown(self, *, drain: bool = True) -> None:
        """Take no more requests, wait until those that were accepted have ended, and stop the thread.

        ``drain=False`` aborts them; so does cancelling a shutdown that drains.
        """
        if not self._entered:
            return
        self._closed = self._closed or "the engine was shut down: it takes no more requests"
        try:
            self._post(partial(self._stop, abort=not drain))
            await self._has_ended.wait()
        except asyncio.CancelledError:
            self._post(partial(self._stop, abort=True))
            raise

    async def _stand_in_line(self, caller: _Caller, wait: bool) -> None:
        self._refuse_if_closed()
        if self._line is None:
            return
        if not wait and self._line.locked():
            raise EngineBusy(
                f"{self.max_waiting} requests wait for their first token, as many as may (max_waiting). "
                "Wait for a place (wait=True), come back later, or raise max_waiting."
            )
        await self._line.acquire()
        caller.line = self._line

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            raise EngineClosed(self._closed) from self._death

    def _post(self, command: Callable[[], None]) -> None:
        with self._wake:
            self._inbox.append(command)
            self._wake.notify()

    def _deliver(self) -> None:
        with self._wake:
            outbox, self._outbox = self._outbox, {}
        for caller, output in outbox.items():
            caller.put(output)

    def _end(self, death: BaseException | None) -> None:
        """The thread is at its end. If it died, everybody who still waits for it is told."""
        self._deliver()
        if death is not None:
            self._death, self._closed = death, f"the engine's loop has died of {type(death).__name__}: {death}"
            for caller in self._callers:
                if not caller.has_ended:
                    error = EngineClosed(self._closed)
                    error.__cause__ = death
                    caller.put(error)
        self._has_ended.set()

    # The loop's thread

    def _work(self) -> None:
        death: BaseException | None = None
        try:
            while not (self._stopping and not self.engine.has_work):
                self._take_inbox()
                if self.engine.has_work:
                    self._step()
        except BaseException as error:  # SystemExit out of a callback, too: nobody may be left waiting
            death = error
            for request_id in self._served:
                with suppress(Exception):
                    self.engine.abort(request_id)
        self._call(self._end, death)

    def _take_inbox(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or self.engine.has_work)
            inbox, self._inbox = self._inbox, []
        for command in inbox:
            command()

    def _step(self) -> None:
        try:
            outputs = self.engine.step()
        except StepFailed as failure:
            outputs = failure.outputs
        self._publish({output.request_id: output for output in outputs})

    def _add(self, caller: _Caller, prompt: str | list[int], params: SamplingParams, options: dict[str, Any]) -> None:
        try:
            caller.request_id = self.engine.add_request(prompt, params, request_id=caller.request_id, **options)
        except Exception as error:
            self._send({caller: error})
        else:
            self._served[caller.request_id] = caller

    def _abort(self, request_id: str) -> None:
        output = self.engine.abort(request_id)
        if output is not None:
            self._publish({request_id: output})

    def _withdraw(self, caller: _Caller) -> None:
        request_id = caller.request_id
        if request_id is not None and self._served.get(request_id) is caller:  # else it has ended, or never began
            self._abort(request_id)

    def _stop(self, abort: bool) -> None:
        self._stopping = True
        for request_id in list(self._served) if abort else ():
            self._abort(request_id)

    def _publish(self, outputs: dict[str, RequestOutput]) -> None:
        sent: dict[_Caller, RequestOutput | Exception] = {}
        for request_id, output in outputs.items():
            caller = self._served.pop(request_id, None) if output.finished else self._served.get(request_id)
            if caller is not None:  # else somebody added it to the engine itself
                sent[caller] = output
        self._send(sent)

    def _send(self, news: dict[_Caller, RequestOutput | Exception]) -> None:
        with self._wake:
            was_empty = not self._outbox
            self._outbox.update(news)
        if was_empty and news:
            self._call(self._deliver)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the event loop is closed, and nobody there to be told
            self._event_loop.call_soon_threadsafe(function, *args)


class _Caller:
    """Somebody who waits for a request: the newest output, or the error that ended it."""

    def __init__(self, request_id: str | None) -> None:
        self.request_id = request_id  #: None until the engine has given it one
        self.line: asyncio.Semaphore | None = None  #: it has a place in it until its first output
        self._latest: RequestOutput | Exception | None = None
        self._news = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        return isinstance(self._latest, Exception) or (self._latest is not None and self._latest.finished)

    def put(self, latest: RequestOutput | Exception) -> None:
        self._latest = latest
        self._news.set()
        self.leave_line()

    async def news(self) -> RequestOutput:
        await self._news.wait()
        self._news.clear()
        if isinstance(self._latest, Exception):
            raise self._latest
        assert self._latest is not None
        return self._latest

    def leave_line(self) -> None:
        if self.line is not None:
            self.line.release()
            self.line = None
