"""Named tensors as the bytes of a safetensors file: no code, no pickle, always the same bytes."""

from __future__ import annotations

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from unspool.errors import CheckpointError, TrainingError
from unspool.training.durable import one_line


def encode_tensors(tensors: dict[str, Tensor], where: str) -> bytes:
    """The bytes of a safetensors file; tensors that share memory are written once each.

    Args:
        tensors: any shapes, on any device, of a type in ``DTYPES``.
        where: what they are, for the message.

    Raises:
        TrainingError: if a value is not finite, naming the tensor.
        CheckpointError: if a tensor has another type.

    Example:
        >>> import torch
        >>> from unspool.training.tensor_file import decode_tensors, encode_tensors
        >>> decode_tensors(encode_tensors({"w": torch.ones(2)}, "model"), "model")
        {'w': tensor([1., 1.])}
    """
    copies: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        check_dtype(name, tensor, where)
        wrong = count_not_finite(tensor)
        if wrong:
            raise TrainingError(
                one_line(
                    f"{where}: {wrong} of {tensor.numel()} values of '{name}' are not finite; "
                    "nothing was saved."
                )
            )
        copy = tensor.detach().cpu().contiguous()
        storage = copy.untyped_storage().data_ptr()
        copies[name] = copy.clone() if storage in seen else copy
        seen.add(storage)
    # One metadata key only: several would be written in an order that changes from run to run.
    return safetensors.torch.save(copies, metadata={"format": "pt"})


def decode_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, sorted by name, with memory of their own.

    Args:
        data: the whole file.
        where: its path, for the message.

    Raises:
        CheckpointError: if it is not a safetensors file, or holds an unknown type or a value that
            is not finite.
    """
    try:
        tensors = safetensors.torch.load(data)
    except READER_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(
            one_line(f"{where}: not a readable safetensors file: {reason}.")
        ) from error
    for name, tensor in tensors.items():
        check_dtype(name, tensor, where)
        wrong = count_not_finite(tensor)
        if wrong:
            raise CheckpointError(
                one_line(f"{where}: {wrong} of {tensor.numel()} values of '{name}' are not finite.")
            )
    return dict(sorted(tensors.items()))


def check_dtype(name: str, tensor: Tensor, where: str) -> None:
    """Refuse element types that our files do not hold.

    Raises:
        CheckpointError: naming the tensor and its type.
    """
    if tensor.dtype not in DTYPES:
        raise CheckpointError(one_line(f"{where}: '{name}' has the type {tensor.dtype}."))


def count_not_finite(tensor: Tensor) -> int:
    """How many values are NaN or infinite."""
    if not tensor.is_floating_point():
        return 0
    return int((~torch.isfinite(tensor.detach())).sum())


DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)
# What safetensors' reader is seen to raise on damaged or hostile headers.
READER_ERRORS = (
    safetensors.SafetensorError,
    AssertionError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
