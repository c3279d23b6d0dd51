"""A scan as one operator of torch, so that `torch.compile` and `torch.export` see a single leaf.

Plain calls never come here: a registered operator costs more than a step of a small cell. While a
model is being compiled or exported, `unspool.engine.scan.scan` puts the operator into the graph;
the cell travels with it as text, so an exported program runs wherever this package is imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from unspool.engine.language import Cell
from unspool.engine.nodes import resolve
from unspool.shapes import check_lengths

CALL = (
    "str cell, str families, Tensor x, Tensor[] parameters, Tensor[] state, Tensor? lengths, "
    "Tensor? mask, bool reverse, bool trace, str backend"
)
_NAMED: WeakValueDictionary[str, Cell] = WeakValueDictionary()


def define(run: Callable[..., Any]) -> Callable[..., tuple[Tensor, tuple[Tensor, ...], Any]]:
    """Register the operators ``unspool::scan`` and ``unspool::scan_backward``.

    Args:
        run: the scan that a plain call makes.

    Returns:
        The same scan through the operator: outputs, final state, trace. A trace has no gradient.
        The way back computes the way there again: an operator hands on tensors and nothing else,
        so the memory a plain call keeps for its gradient cannot be kept.
    """

    def again(
        cell: str, families: str, x: Tensor, parameters: list[Tensor], state: list[Tensor],
        lengths: Tensor | None, mask: Tensor | None, reverse: bool, trace: bool, backend: str,
    ) -> Any:  # fmt: skip
        if lengths is not None:
            check_lengths(lengths, x.shape[1], x.shape[0], "scan")
        return run(
            _cell_of(cell), dict(zip(families.split(), parameters, strict=True)), x, tuple(state),
            lengths=lengths, reverse=reverse, mask=mask, trace=trace, backend=backend,
        )  # fmt: skip

    def forward(*call: Any) -> list[Tensor]:
        result = again(*call)
        values = (result.outputs, *result.state, *result.trace.values())
        # An operator returns memory of its own: no views, and nothing twice.
        return [value.clone(memory_format=torch.contiguous_format) for value in values]

    def backward(
        gradients: list[Tensor], cell: str, families: str, x: Tensor, parameters: list[Tensor],
        state: list[Tensor], *rest: Any,
    ) -> list[Tensor]:  # fmt: skip
        # Inside an operator torch records nothing, whatever the grad mode; this lets it.
        with (
            torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False),
            torch.enable_grad(),
        ):
            leaves = [value.detach().requires_grad_() for value in (x, *parameters, *state)]
            split = 1 + len(parameters)
            result = again(cell, families, leaves[0], leaves[1:split], leaves[split:], *rest)
            ends = (result.outputs, *result.state)
            wanted = [(e, g) for e, g in zip(ends, gradients, strict=True) if e.requires_grad]
            found = torch.autograd.grad(
                [e for e, _ in wanted], leaves, [g for _, g in wanted], allow_unused=True
            )
        return [
            torch.zeros_like(leaf, memory_format=torch.contiguous_format)
            if value is None
            else value.detach().clone(memory_format=torch.contiguous_format)
            for leaf, value in zip(leaves, found, strict=True)
        ]

    there = torch.library.custom_op(
        "unspool::scan", forward, mutates_args=(), schema=f"({CALL}) -> Tensor[]"
    )
    back = torch.library.custom_op(
        "unspool::scan_backward", backward, mutates_args=(),
        schema=f"(Tensor[] gradients, {CALL}) -> Tensor[]",
    )  # fmt: skip
    there.register_fake(_shapes)
    back.register_fake(_gradient_shapes)

    def differentiate(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
        x, lengths, mask, *tensors = ctx.saved_tensors
        parameters, state = tensors[: ctx.count], tensors[ctx.count :]
        ends = [x.new_empty(()).expand(*x.shape[:2], state[0].shape[1]), *state]
        given = [
            torch.zeros_like(end, memory_format=torch.contiguous_format) if g is None else g
            for end, g in zip(ends, gradients[: len(ends)], strict=True)
        ]
        cell, families, reverse, backend = ctx.words
        found = back(
            given, cell, families, x, parameters, state, lengths, mask, reverse, False, backend
        )
        split = 1 + ctx.count
        return None, None, found[0], found[1:split], found[split:], None, None, None, None, None

    def remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
        cell, families, x, parameters, state, lengths, mask, reverse, _, backend = inputs
        ctx.save_for_backward(x, lengths, mask, *parameters, *state)
        ctx.count, ctx.words = len(parameters), (cell, families, reverse, backend)

    there.register_autograd(differentiate, setup_context=remember)

    def leaf(
        cell: Cell, parameters: Mapping[str, Tensor], x: Tensor, state: tuple[Tensor, ...],
        lengths: Tensor | None, reverse: bool, mask: Tensor | None, trace: bool, backend: str,
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:  # fmt: skip
        outputs, *rest = torch.ops.unspool.scan(
            cell.text, " ".join(parameters), x, list(parameters.values()), list(state), lengths,
            mask, reverse, trace, backend,
        )  # fmt: skip
        count = len(state)
        names = cell.traced if trace else ()
        kept = {name: value.detach() for name, value in zip(names, rest[count:], strict=True)}
        return outputs, tuple(rest[:count]), kept

    return leaf


def know(cell: Cell) -> None:
    """Let the operator find a cell of this process, with what is compiled for it, by its text."""
    _NAMED[cell.text] = cell


def _cell_of(text: str) -> Cell:
    return _NAMED.get(text) or _read(text)


@lru_cache(maxsize=64)
def _read(text: str) -> Cell:
    return Cell.from_dict(json.loads(text))


def _shapes(
    cell: str, families: str, x: Tensor, parameters: list[Tensor], state: list[Tensor],
    lengths: Tensor | None, mask: Tensor | None, reverse: bool, trace: bool, backend: str,
) -> list[Tensor]:  # fmt: skip
    steps, batch, features = x.shape
    units = state[0].shape[1]
    made = [x.new_empty(steps, batch, units), *(x.new_empty(batch, units) for _ in state)]
    if trace:
        graph = _cell_of(cell).graph
        for _, index in graph.gates:
            axis = (graph.nodes[index].shape or (1,))[0]
            made.append(x.new_empty(steps, batch, resolve(axis, features, units)))
        made += [x.new_empty(steps, batch, units) for _ in state]
    return made


def _gradient_shapes(
    gradients: list[Tensor], cell: str, families: str, x: Tensor, parameters: list[Tensor],
    state: list[Tensor], *rest: Any,
) -> list[Tensor]:  # fmt: skip
    return [value.new_empty(value.shape) for value in (x, *parameters, *state)]
