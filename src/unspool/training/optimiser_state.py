"""A torch optimiser's state as flat tensors plus plain JSON, and back, exactly."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unspool.errors import CheckpointError


def split_optimiser(state_dict: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Divide ``optimiser.state_dict()`` into tensors and everything else.

    Args:
        state_dict: of any ``torch.optim`` optimiser whose groups hold no tensors.

    Returns:
        Tensors named ``"index/name"``, such as ``"0/exp_avg"``; and a record that JSON gives back
        exactly: ``{"state": {index: {name: value}}, "groups": [...]}``.

    Raises:
        CheckpointError: if a value is neither a tensor nor plain.

    Example:
        >>> import torch
        >>> from unspool.training.optimiser_state import split_optimiser
        >>> w = torch.nn.Parameter(torch.ones(1)); w.grad = torch.ones(1)
        >>> descent = torch.optim.SGD([w], lr=0.5, momentum=0.9); descent.step()
        >>> split_optimiser(descent.state_dict())[0]
        {'0/momentum_buffer': tensor([1.])}
    """
    tensors: dict[str, Tensor] = {}
    rest: dict[str, dict[str, Any]] = {}
    for index, entries in state_dict["state"].items():
        rest[str(index)] = {}
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{name}"] = value
            else:
                rest[str(index)][name] = _plain(value, f"optimiser state {index}/{name}")
    groups = [
        {name: _plain(value, f"optimiser group {number}, {name}") for name, value in group.items()}
        for number, group in enumerate(state_dict["param_groups"])
    ]
    return tensors, {"state": rest, "groups": groups}


def join_optimiser(
    tensors: dict[str, Tensor], record: dict[str, Any], where: str
) -> dict[str, Any]:
    """The inverse of `split_optimiser`: what ``optimiser.load_state_dict`` takes.

    Args:
        tensors: as `split_optimiser` named them.
        record: as `split_optimiser` gave it, possibly after JSON.
        where: the checkpoint, for the message.

    Raises:
        CheckpointError: if the two parts are not of that form or do not fit together.
    """
    try:
        state = {
            int(index): {name: _restored(value) for name, value in entries.items()}
            for index, entries in record["state"].items()
        }
        for path, tensor in tensors.items():
            index, _, name = path.partition("/")
            if name in state[int(index)]:
                raise ValueError("a value and a tensor share a name")
            state[int(index)][name] = tensor
        groups = [
            {name: _restored(value) for name, value in group.items()} for group in record["groups"]
        ]
        held = [number for group in groups for number in group["params"]]
        if any(type(number) is not int for number in held) or not state.keys() <= set(held):
            raise ValueError("state for a parameter that is in no group")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{where}: the optimiser's tensors and its record do not fit together."
        ) from error
    return {"state": state, "param_groups": groups}


def _plain(value: object, where: str) -> Any:
    if isinstance(value, tuple):
        return {"tuple": [_plain(item, where) for item in value]}
    if isinstance(value, list):
        return [_plain(item, where) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise CheckpointError(f"{where}: cannot save a {type(value).__name__}; wanted a number.")


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() != {"tuple"}:
            raise ValueError("only tuples are written as objects")
        return tuple(_restored(item) for item in value["tuple"])
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value
