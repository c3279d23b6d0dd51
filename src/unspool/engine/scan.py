"""`scan`: a cell over a sequence, one call for every backend."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unspool.engine import captured, library, operator, reference
from unspool.engine.graph import mask_recurrent_products
from unspool.engine.language import Cell
from unspool.engine.lookup import Lookup
from unspool.errors import BackendError, choose
from unspool.shapes import mask_of

BACKENDS = {
    "auto": "the fastest that can serve the call",
    "llvm": "code generated for this processor, for any cell",
    "torch": "torch's own kernel, only where the equation is identical",
    "graph": "on CUDA the readable loop, recorded once and replayed",
    "reference": "the readable loop, which defines the answer",
}
FASTEST_FIRST = ("llvm", "torch", "graph")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan computed.

    Attributes:
        outputs: ``[T B H]``, zero in the padding.
        state: after each row's last step, in the cell's order, each ``[B H]``.
        trace: gates and states over time by name, each ``[T B H]``; empty unless asked for.
        backend: which one ran; under `torch.compile` the name that was asked for, since the
            choice is made when the compiled graph runs.
    """

    outputs: Float[Tensor, "T B H"]
    state: tuple[Tensor, ...]
    trace: dict[str, Tensor] = field(default_factory=dict)
    backend: str = "reference"


def scan(
    cell: Cell,
    parameters: Mapping[str, Tensor],
    x: Float[Tensor, "T B D"] | Lookup,
    state: tuple[Tensor, ...],
    *,
    lengths: Int64[Tensor, " B"] | None = None,
    reverse: bool = False,
    mask: Float[Tensor, "B H"] | None = None,
    trace: bool = False,
    backend: str = "auto",
) -> Scanned:
    """Run a cell over time.

    Args:
        cell: the equations.
        parameters: by family, gates stacked along the first axis.
        x: inputs, time first, or where to look them up; the padding is never read.
        state: before the first step, in the cell's order, each ``[B H]``.
        lengths: of the rows, 1…T; None when all are full.
        reverse: read each row from its own last step to its first.
        mask: dropout factors for what enters the recurrent products, drawn once a sequence.
        trace: also return every gate and state over time.
        backend: a key of `BACKENDS`.

    Returns:
        Outputs, final state, trace, and the backend that ran.

    Raises:
        BackendError: if ``backend`` is named and cannot serve this call.
        ConfigError: if there is no such backend.

    Example:
        >>> from unspool.cells import CELLS
        >>> weights = {"W": torch.ones(1, 1), "U": torch.zeros(1, 1), "b": torch.zeros(1)}
        >>> scan(CELLS["rnn"], weights, torch.zeros(2, 1, 1), (torch.zeros(1, 1),)).outputs.sum()
        tensor(0.)
    """
    options: dict[str, Any] = {
        "lengths": lengths, "reverse": reverse, "mask": mask, "trace": trace, "backend": backend
    }  # fmt: skip
    if torch.compiler.is_compiling():
        rows = x.rows() if isinstance(x, Lookup) else x
        return Scanned(*_leaf(cell, parameters, rows, state, **options), backend)
    return _run(cell, parameters, x, state, **options)


def _run(
    cell: Cell,
    parameters: Mapping[str, Tensor],
    x: Tensor | Lookup,
    state: tuple[Tensor, ...],
    *,
    lengths: Tensor | None,
    reverse: bool,
    mask: Tensor | None,
    trace: bool,
    backend: str,
) -> Scanned:
    ragged = lengths is not None
    backend = choose_backend(cell, state[0], backend, trace, mask is not None, ragged)
    if backend == "llvm":
        options = {"lengths": lengths, "reverse": reverse, "mask": mask, "trace": trace}
        return Scanned(*_fused().scan(cell, parameters, x, state, **options), backend)
    if isinstance(x, Lookup):
        x = x.rows()
    valid = None
    if lengths is not None:
        valid = mask_of(lengths, x.shape[0]).T
    if reverse:
        x = reversed_rows(x, lengths)
    kept: dict[str, Tensor] = {}
    graph = cell.graph if mask is None else mask_recurrent_products(cell.graph)
    if backend == "torch":
        outputs, final = library.scan(cell, parameters, x, state, lengths)
    elif backend == "graph":
        outputs, final = captured.scan(graph, parameters, x, state, mask)
    else:
        outputs, final, kept = reference.scan(graph, parameters, x, state, valid, mask, trace)
    if reverse:
        outputs = reversed_rows(outputs, lengths)
        kept = {name: reversed_rows(value, lengths) for name, value in kept.items()}
    return Scanned(outputs, final, kept, backend)


_leaf = operator.define(_run)


def choose_backend(
    cell: Cell,
    like: Tensor,
    name: str = "auto",
    trace: bool = False,
    masked: bool = False,
    ragged: bool = False,
) -> str:
    """The backend that will serve a call: the named one, or for "auto" the fastest that can.

    Args:
        cell: the equations.
        like: a tensor of the call's device and dtype.
        name: a key of `BACKENDS`.
        trace: whether gates and states are wanted.
        masked: whether there is dropout inside the recurrence.
        ragged: whether there are lengths.

    Raises:
        BackendError: if the named one cannot, with the reason.
        ConfigError: if there is none of that name.
    """
    if name == "auto":
        for each in FASTEST_FIRST:
            if _refusal(each, cell, like, trace, masked, ragged) is None:
                return each
        return "reference"
    choose(name, BACKENDS, "backend")
    reason = _refusal(name, cell, like, trace, masked, ragged)
    if reason is not None:
        raise BackendError(f"backend '{name}': {reason}; use 'auto' or 'reference'.")
    return name


def _refusal(
    name: str, cell: Cell, like: Tensor, trace: bool, masked: bool, ragged: bool
) -> str | None:
    """Why a backend cannot serve a call, or None when it can."""
    match name:
        case "llvm":
            return _no_llvm(like) or _fused().refusal(cell, like, masked)
        case "torch":
            return library.refusal(cell, trace, masked)
        case "graph":
            return captured.refusal(like, trace, ragged)
    return None


@cache
def _fused() -> ModuleType:
    """The generated code's own module; it needs llvmlite, which may be missing."""
    return importlib.import_module("unspool.engine.fused")


@cache
def _llvm_missing() -> str | None:
    """Why code cannot be generated on this machine; said once where "auto" has to do without."""
    try:
        importlib.import_module("unspool.engine.kernels").host()
    except (ImportError, OSError, BackendError) as error:
        warnings.warn(
            f"unspool: no fused code on this machine ({error}); PyTorch serves instead.",
            stacklevel=2,
        )
        return str(error)
    return None


def _no_llvm(like: Tensor) -> str | None:
    if like.device.type != "cpu":
        return f"it runs on the CPU, the inputs are on {like.device}"
    return _llvm_missing()


def reversed_rows(
    x: Float[Tensor, "T B D"], lengths: Int64[Tensor, " B"] | None
) -> Float[Tensor, "T B D"]:
    """Each row back to front within its own length; padding stays where it is."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    index = torch.where(steps < lengths, lengths - 1 - steps, steps)  # [T B]
    return x.gather(0, index[:, :, None].expand_as(x))
