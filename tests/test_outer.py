"""What weights learn, whichever way round it is multiplied."""

import pytest
import torch

from unspool.engine import outer
from unspool.engine.outer import sum_of_outer

SIZES = {"few entries": (5, 8, 2), "turned": (1200, 40, 3), "square": (1200, 6, 6)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_is_the_sum_of_all_outer_products(size, count, rng):
    entries, height, width = size
    pairs = [
        (
            torch.randn(entries // k, height, dtype=torch.float64, generator=rng),
            torch.randn(entries // k, width, dtype=torch.float64, generator=rng),
        )
        for k in range(1, count + 1)
    ]
    wanted = sum(torch.einsum("nh,nd->hd", a, b) for a, b in pairs)
    found = sum_of_outer(*pairs)
    assert found.is_contiguous()
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_only_wide_results_of_many_entries_are_turned(monkeypatch):
    turned = []
    monkeypatch.setattr(
        outer, "transposed", lambda matrix: turned.append(matrix.shape) or matrix.t()
    )
    for entries, height, width in SIZES.values():
        sum_of_outer((torch.ones(entries, height), torch.ones(entries, width)))
    assert turned == [(3, 40)]
