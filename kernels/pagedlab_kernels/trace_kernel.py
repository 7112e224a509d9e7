"""Watching a Triton kernel: which program read and wrote what, in which order, without a GPU.

The idea
    Interpreted, a kernel is Python that runs one program after the other, and whatever it loads or stores passes
    through one object, the interpreter's builder, with all addresses at hand. So we listen there: an address becomes a
    byte of the tensor that it lies in, neighbouring lanes become runs (``accesses.py``), and the kernel notices
    nothing.

        with trace_kernel(kv=kv, tables=tables) as trace:
            paged_decode(q, kv, tables, ...)
        trace.pages_of("kv")            # which program read which slots of which pages
        trace.traffic("kv").times       # how often each byte was read: {0: ..., 1: ...}

Where we listen
        launch ──► GridExecutor._init_args_hst        which kernel, with which tensors
                     └─► builder.set_grid_dim         how many programs
                           └─► builder.set_grid_idx   the next program
                                 └─► builder.create_masked_load, create_masked_store, create_atomic_*
    Every other load and store ends in one of those (block pointers, tensor descriptors, accesses without a mask), in
    Triton 3.6 and 3.7 alike. Builder and executor serve the whole process: hooks are put there when the first trace
    opens and taken away when the last one closes, and each trace hears its own thread only.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any, NamedTuple

import triton
from torch import Tensor
from triton.runtime import interpreter

from pagedlab.errors import KernelUnavailable
from pagedlab_kernels.accesses import Access, KernelTrace, Kind, Launch, Program, ProgramId, TracedTensor


@contextmanager
def trace_kernel(**tensors: Tensor) -> Iterator[KernelTrace]:
    """Record what the kernels that this thread launches meanwhile read and write, in terms of ``tensors``.

    Where two of them overlap, the first is named. Tensors among a launch's arguments that are none of these go by the
    names of their parameters. Raises KernelUnavailable where Triton compiles instead of interpreting, and ValueError
    for a tensor whose bytes do not lie in one piece in this machine's memory.
    """
    if isinstance(triton.language.cdiv, triton.JITFunction):
        raise KernelUnavailable(
            "trace_kernel was asked to watch Triton's interpreter, but kernels are compiled here: "
            "set TRITON_INTERPRET=1 before Python starts"
        )
    for name, tensor in tensors.items():
        if tensor.device.type != "cpu" or not tensor.is_contiguous():
            raise ValueError(
                f"{name} is on {tensor.device} with strides {tensor.stride()}; name a contiguous tensor on the CPU. "
                "The interpreter reads a copy of what lies elsewhere, and between strides lie the bytes of others"
            )
    listener = _Listener(tensors)
    with _lock:
        if not _listeners:
            _put_hooks()
        _listeners.append(listener)
    try:
        yield listener.trace
    finally:
        with _lock:
            _listeners.remove(listener)
            if not _listeners:
                _take_hooks_away()


class _Region(NamedTuple):
    """Where a tensor lies."""

    name: str
    start: int  #: address of its first byte
    stop: int


class _Listener:
    """Turns what it hears into a trace."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.thread = get_ident()
        self.tensors = tensors  # held, so that nothing else comes to lie at their addresses
        self.named = [_region(name, tensor) for name, tensor in tensors.items()]
        self.regions = self.named
        self.trace = KernelTrace({name: _described(tensor) for name, tensor in tensors.items()})
        self.kernel, self.arguments = "", dict[str, Tensor]()

    def launch_prepared(self, kernel: str, arguments: dict[str, Any]) -> None:
        """Its arguments in this machine's memory, those that are no tensors too."""
        known = {(region.start, region.stop) for region in self.named}
        self.kernel, self.arguments = kernel, {}
        for parameter, tensor in arguments.items():
            region = _region(parameter, tensor) if isinstance(tensor, Tensor) else None
            if region is not None and (region.start, region.stop) not in known:
                name = f"{kernel}.{parameter}" if parameter in self.tensors else parameter
                self.arguments[name] = tensor
        self.regions = self.named + [_region(name, tensor) for name, tensor in self.arguments.items()]

    def launched(self, grid: ProgramId) -> None:
        tensors = self.trace.tensors | {name: _described(tensor) for name, tensor in self.arguments.items()}
        self.trace.launches.append(Launch(self.kernel, grid, tensors))

    def program_started(self, at: ProgramId) -> None:
        self.trace.launches[-1].programs.append(Program(at))

    def accessed(self, kind: Kind, pointers: Any, mask: Any) -> None:
        """``pointers``: a handle of addresses; ``mask``: a handle or an array of their shape, or None."""
        width = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        # A block pointer's mask is a bare array; a handle keeps its array under ``data``.
        lanes = mask.data if isinstance(mask, interpreter.TensorHandle) else mask
        addresses = pointers.data.reshape(-1) if lanes is None else pointers.data[lanes]
        if not addresses.size:
            return
        masked = pointers.data.size - addresses.size
        starts = [0, *((addresses[1:] - addresses[:-1] != width).nonzero()[0] + 1).tolist()]
        stops = [*starts[1:], addresses.size]
        found: dict[str | None, list[range]] = {}
        for first, after in zip(starts, stops, strict=True):
            run = range(int(addresses[first]), int(addresses[after - 1]) + width)
            for name, part in self._cut(run):
                found.setdefault(name, []).append(part)
        source = _kernel_line()
        for name, runs in found.items():
            self.trace.launches[-1].programs[-1].accesses.append(Access(kind, name, tuple(runs), width, masked, source))

    def _cut(self, run: range) -> Iterator[tuple[str | None, range]]:
        """The parts of a run of addresses that lie in one tensor each, or in none."""
        while run:
            inside = next((region for region in self.regions if region.start <= run.start < region.stop), None)
            if inside is not None:
                name, start = inside.name, inside.start
                stop = min(run.stop, inside.stop)
            else:
                name, start = None, 0
                stop = min([run.stop, *(region.start for region in self.regions if region.start in run)])
            yield name, range(run.start - start, stop - start)
            run = range(stop, run.stop)


def _region(name: str, tensor: Tensor) -> _Region:
    """A tensor that is not contiguous lies where its first and last elements do, the gaps between them included."""
    span = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    return _Region(name, tensor.data_ptr(), tensor.data_ptr() + span * tensor.element_size() * bool(tensor.numel()))


def _described(tensor: Tensor) -> TracedTensor:
    return TracedTensor(tuple(tensor.shape), tensor.element_size())


def _kernel_line() -> str:
    """The line of the kernel that is being interpreted: of the frame nearest to here that is not Triton's."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(_TRITON):
        assert frame.f_back is not None  # somebody called the kernel
        frame = frame.f_back
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()


_TRITON = triton.__file__.removesuffix("__init__.py")
_lock = Lock()
_listeners: list[_Listener] = []
_prepare_arguments = interpreter.GridExecutor._init_args_hst
#: Method of the builder -> what a listener makes of its arguments.
_HEARD: dict[str, Callable[..., None]] = {
    "set_grid_dim": lambda listener, *grid: listener.launched(grid),
    "set_grid_idx": lambda listener, *at: listener.program_started(at),
    "create_masked_load": lambda listener, *args: listener.accessed("load", args[0], args[1]),
    "create_masked_store": lambda listener, *args: listener.accessed("store", args[0], args[2]),
    "create_atomic_rmw": lambda listener, *args: listener.accessed("atomic", args[1], args[3]),
    "create_atomic_cas": lambda listener, *args: listener.accessed("atomic", args[0], None),
}


def _here() -> list[_Listener]:
    """The traces that this thread has open."""
    return [listener for listener in _listeners if listener.thread == get_ident()]


def _put_hooks() -> None:
    builder = interpreter.interpreter_builder
    for method, hear in _HEARD.items():
        # An attribute of the object hides the method of its class, until it is deleted.
        setattr(builder, method, _hooked(getattr(builder, method), hear))

    def prepare(executor: Any, args_dev: Any, kwargs: Any) -> Any:
        args, by_name = _prepare_arguments(executor, args_dev, kwargs)
        for listener in _here():
            listener.launch_prepared(executor.fn.__name__, dict(zip(executor.arg_names, args, strict=False)) | by_name)
        return args, by_name

    interpreter.GridExecutor._init_args_hst = prepare


def _hooked(original: Callable[..., Any], hear: Callable[..., None]) -> Callable[..., Any]:
    def heard(*args: Any, **kwargs: Any) -> Any:
        for listener in _here():
            hear(listener, *args)
        return original(*args, **kwargs)

    return heard


def _take_hooks_away() -> None:
    interpreter.GridExecutor._init_args_hst = _prepare_arguments
    for method in _HEARD:
        delattr(interpreter.interpreter_builder, method)
