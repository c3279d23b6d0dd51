"""How near is near enough: the one table of tolerances, by dtype."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}


def difference(actual: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest magnitude of what was expected."""
    assert actual.shape == expected.shape, f"{list(actual.shape)} is not {list(expected.shape)}"
    if not expected.numel():
        return 0.0
    assert expected.isfinite().all() and actual.isfinite().all(), "a value is not finite"
    scale = expected.abs().max().item()
    largest = (actual - expected).abs().max().item()
    return largest / scale if scale else largest


def assert_close(actual, expected):
    """Tensors, or sequences and mappings of them, within the tolerance of their dtype."""
    if isinstance(expected, Mapping):
        assert list(actual) == list(expected)
        for name in expected:
            assert_close(actual[name], expected[name])
    elif isinstance(expected, Sequence):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_close(one, other)
    else:
        assert actual.dtype == expected.dtype
        found, allowed = difference(actual, expected), TOLERANCES[expected.dtype]
        assert found <= allowed, f"differs by {found:.2g} of its largest value; {allowed} allowed"
