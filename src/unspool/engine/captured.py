"""The readable loop as CUDA graphs: recorded once for a size, then replayed without Python.

A loop of small kernels spends its time on launching them; a recorded graph launches all at once.
It reads and writes the same memory at every replay, so arguments are copied in and results out, and
the way back replays the way there as well: nothing has to survive between the two, whatever other
calls come in between. Long sequences go through in pieces of `STEPS`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from unspool.engine import reference
from unspool.engine.graph import Graph

# Steps of one graph: enough that a launch is small beside them, few enough to record quickly.
STEPS = 64
# Warm-up runs before a recording, in which libraries choose their kernels, as torch asks for.
WARM_UPS = 3
# Sizes whose graphs are kept; the one used longest ago goes first.
KEPT = 16

Run = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


def refusal(like: Tensor, trace: bool, ragged: bool) -> str | None:
    """Why the loop cannot be recorded for a call, or None when it can.

    Args:
        like: a tensor of the call's device.
        trace: whether gates and states are wanted.
        ragged: whether there are lengths.
    """
    if like.device.type != "cuda":
        return f"it replays CUDA graphs, the inputs are on {like.device}"
    if trace:
        return "a recorded loop hands out no trace"
    if ragged:
        return "a recorded loop runs every row to its end; with lengths= another backend serves"
    return None


def scan(
    graph: Graph,
    parameters: Mapping[str, Tensor],
    x: Float[Tensor, "T B D"],
    state: tuple[Tensor, ...],
    mask: Float[Tensor, "B H"] | None = None,
) -> tuple[Float[Tensor, "T B H"], tuple[Tensor, ...]]:
    """Outputs and final state; gradients once, second ones need the backend ``reference``.

    Args:
        graph: the step.
        parameters: stacked, by family.
        x: inputs, time first, every row full.
        state: before the first step.
        mask: dropout factors drawn once a sequence.
    """
    names, count = list(parameters), len(state)
    fixed = [*parameters.values(), *([] if mask is None else [mask])]

    def run(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        given, now, rest = tensors[0], tuple(tensors[1 : 1 + count]), tensors[1 + count :]
        weights = dict(zip(names, rest, strict=False))
        drawn = None if mask is None else rest[-1]
        outputs, final, _ = reference.scan(graph, weights, given, now, None, drawn)
        return (outputs, *final)

    outputs: list[Tensor] = []
    for piece in x.split(STEPS):
        tensors = [piece, *state, *fixed]
        sizes = tuple((tuple(t.shape), t.dtype, t.device) for t in tensors)
        recorded = _recorded((graph.fingerprint, graph.states, *names, *sizes), run, tensors)
        made = _Replay.apply(recorded, *tensors)
        outputs.append(made[0])
        state = tuple(made[1:])
    return torch.cat(outputs), state


class Recorded:
    """A function of tensors and its gradient, each recorded over memory of its own.

    Args:
        run: the function.
        tensors: arguments of the sizes it will be called with.
    """

    def __init__(self, run: Run, tensors: Sequence[Tensor]) -> None:
        self.run = run
        self.given = [tensor.detach().clone() for tensor in tensors]
        self.results: tuple[Tensor, ...] = ()
        self.arriving: list[Tensor] = []
        self.found: tuple[Tensor | None, ...] = ()
        self._forward = record(self._run_forward)
        self._backward: Callable[[], None] | None = None

    @torch.no_grad()
    def _run_forward(self) -> None:
        self.results = self.run(self.given)

    @torch.enable_grad()
    def _run_backward(self) -> None:
        leaves = [value.detach().requires_grad_() for value in self.given]
        ends = self.run(leaves)
        self.found = torch.autograd.grad(ends, leaves, self.arriving, allow_unused=True)

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fresh results."""
        _copy(self.given, tensors)
        self._forward()
        return tuple(value.clone() for value in self.results)

    def backward(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Fresh gradients of every argument."""
        if self._backward is None:
            self.arriving = [torch.zeros_like(value) for value in self.results]
            self._backward = record(self._run_backward)
        _copy(self.given, tensors)
        _copy(self.arriving, gradients)
        self._backward()
        return [None if value is None else value.clone() for value in self.found]


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recorded: Recorded, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.recorded = recorded
        ctx.save_for_backward(*tensors)
        return recorded.forward(tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return None, *ctx.recorded.backward(ctx.saved_tensors, gradients)


def record(function: Callable[[], None]) -> Callable[[], None]:
    """A replay of everything a function launches on the GPU."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


_RECORDED: OrderedDict[tuple[Any, ...], Recorded] = OrderedDict()


def _recorded(key: tuple[Any, ...], run: Run, tensors: Sequence[Tensor]) -> Recorded:
    if key not in _RECORDED:
        _RECORDED[key] = Recorded(run, tensors)
        if len(_RECORDED) > KEPT:
            _RECORDED.popitem(last=False)
    _RECORDED.move_to_end(key)
    return _RECORDED[key]


def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
