"""Packed weights: every weight at the place where a product reads it, and zero in the filling."""

import pytest
import torch

from unspool.cells import CELLS
from unspool.engine.packing import pack, transposed
from unspool.engine.plan import plan_of

CASES = {
    "a whole number of vectors": (64, 64),
    "several vectors a panel": (256, 256),
    "units that end within a vector": (37, 37),
    "inputs that end within a vector": (64, 37),
    "one unit": (1, 1),
    "one input": (32, 1),
}
LAYOUTS = {
    "rows": lambda weights: weights,
    "columns": lambda weights: weights.t().contiguous().t(),
    "neither": lambda weights: weights.repeat_interleave(2, 1)[:, ::2],
    "one row after itself": lambda weights: weights[:1].expand_as(weights),
}


def by_definition(plan, given, fold):
    units, depth = given[0].shape
    wide = fold * plan.lanes
    whole = torch.zeros(plan.padded(units), depth, len(given), dtype=plan.dtype)
    for number, weights in enumerate(given):
        whole[:units, :, number] = weights
    panels = whole.unflatten(0, (-1, wide))  # [panel unit input sum]
    return panels.permute(0, 2, 3, 1).flatten(2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_every_weight_stands_where_a_product_reads_it(name, dtype, size, layout, rng):
    plan = plan_of(CELLS[name], False, dtype)
    for side in (plan.forward, plan.backward):
        matrices, wanted = {}, []
        for group, fold in zip(side.code.groups, side.code.fold, strict=True):
            for sums in zip(*group.terms, strict=True):
                given = []
                for matrix, _, turned in sums:
                    weights = LAYOUTS[layout](torch.randn(CASES[size], generator=rng, dtype=dtype))
                    matrices[side.program.original[matrix]] = weights.t() if turned else weights
                    given.append(weights)
                wanted.append(by_definition(plan, given, fold))
        found = pack(side, matrices)
        assert len(found) == len(wanted)
        for packed, expected in zip(found, wanted, strict=True):
            assert packed.equal(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 13), (16, 16), (17, 33), (64, 256), (130, 3)])
def test_a_turned_matrix_has_its_axes_exchanged(size, dtype, rng):
    matrix = torch.randn(size, dtype=dtype, generator=rng)
    assert transposed(matrix).equal(matrix.t())
    assert transposed(matrix).is_contiguous()
