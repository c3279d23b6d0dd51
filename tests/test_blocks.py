"""Block-diagonal products: a panel reads its own block, and the numbers are those of the loop."""

import pytest
import torch

from scanning import draw_case, everything, lengths_for, threads, unchecked
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine import together as together_file
from unspool.engine.hoist import parameter_nodes, single_parameters
from unspool.engine.language import block_diagonal, cell, layer_norm, sigmoid, tanh
from unspool.engine.packing import pack
from unspool.engine.plan import plan_of
from unspool.engine.stream import Stream
from unspool.layers.recurrent import Recurrent


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1), unchecked():
        yield


@cell(state="h")
def beside_a_dense_one(x, h, W, U, R, b):
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + block_diagonal(R.n, 2) @ (z * h) + block_diagonal(R.m, 2) @ h + b.n)
    return z * h + (1 - z) * n


@cell(state="h")
def normed(x, h, W, R, gain, bias):
    return tanh(W.h @ x + layer_norm(block_diagonal(R.h, 2) @ h, gain.h, bias.h))


HEADS = 4
SLSTM = CELLS["slstm"].with_options(heads=HEADS)
MEMBERS = {"slstm": SLSTM, "beside": beside_a_dense_one, "normed": normed}
# Blocks of whole panels, of half a panel, and of no round number.
SIZES = {torch.float32: (128, 96, 24), torch.float64: (64, 32, 12)}


@pytest.mark.parametrize(("dtype", "units"), [(d, H) for d, sizes in SIZES.items() for H in sizes])
@pytest.mark.parametrize("name", MEMBERS)
def test_blocks_of_any_size_give_the_numbers_of_the_readable_loop(name, dtype, units):
    member = MEMBERS[name]
    parameters, x, state = draw_case(member, (3, 4, 5, units), dtype)
    case = {k: p / units**0.5 if p.dim() > 1 else p for k, p in parameters.items()}, x, state
    for options in ({}, {"lengths": lengths_for(3, 4), "reverse": True}):
        expected = everything(member, "reference", case, **options)
        assert_close(everything(member, "llvm", case, **options), expected)


def packed_numbers(member, units):
    plan = plan_of(member, False, torch.float32)
    parameters, _, _ = draw_case(member, (2, 2, 5, units), torch.float32)
    values = single_parameters(plan, parameters)
    matrices, _ = parameter_nodes(plan, plan.core.nodes, values)
    return [
        sum(each.numel() for each in pack(side, matrices)) for side in (plan.forward, plan.backward)
    ]


def test_packed_weights_hold_the_blocks_and_not_the_zeros_around_them():
    units, gates = 8 * plan_of(SLSTM, False, torch.float32).padded(1), 4
    assert packed_numbers(SLSTM, units) == [gates * units * units // HEADS] * 2


def test_stream_of_a_cell_with_blocks_is_the_layer_on_several_cores_too(monkeypatch):
    monkeypatch.setattr(together_file, "SHARED_BYTES", 0)
    layer = Recurrent(SLSTM, 5, 256, generator=torch.Generator().manual_seed(3))
    x = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(4))
    with threads(2):
        stream = Stream(layer.cell, dict(layer.weights["l0"].items()), units=256, features=5)
    stream.restart(tuple(value[:, 0] for value in layer.start(1)))
    found = []
    for t in range(3):  # by turns alone and together
        stream.x.copy_(x[:, t])
        found.append(stream.step().clone())
    assert stream.threads == 2
    assert_close(torch.stack(found, 1), layer(x)[0].detach())
