"""A step without gradients reads weights where they lie: the numbers of the loop, always fresh."""

import copy
import threading

import pytest
import torch

from scanning import threads
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine import single, together
from unspool.engine.plan import plan_of
from unspool.layers.recurrent import Recurrent
from unspool.layers.stepping import FEW_ROWS, compiled_step

# What is made of the weights before a step, or lies in blocks, is not read where it lies.
OTHERS = {"layer_norm_lstm", "slstm", "multiplicative_rnn"}
SIZES = [(3, 5), (40, 100), (32, 64), (1, 1)]  # D, H: whole panels and not


def make(name, features=3, units=20, **options):
    options.setdefault("generator", torch.Generator().manual_seed(2))
    layer = Recurrent(name, features, units, **options).double()
    return layer.requires_grad_(requires_grad=True)


@torch.no_grad()
def by_steps(layer, x, step):
    """Outputs over time and the last state."""
    outputs, state = [], None
    for value in x.unbind(1):
        output, state = step(layer, value, state)
        outputs.append(output)
    return torch.stack(outputs, 1), state


def readable(layer, x):
    other = copy.deepcopy(layer)
    other.named_backend = "reference"
    return by_steps(other, x, Recurrent.step)


def test_cells_whose_weights_lie_as_they_are_read_have_a_compiled_step():
    found = {name for name in CELLS if plan_of(CELLS[name], False, torch.float64).unpacked is None}
    assert found == OTHERS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in CELLS if name not in OTHERS])
def test_compiled_step_gives_the_numbers_of_the_readable_loop(name, dtype, rng):
    for features, units in SIZES:
        for batch in (1, FEW_ROWS - 1):
            layer = make(name, features, units).to(dtype)
            x = torch.randn(batch, 5, features, generator=rng, dtype=dtype)
            assert_close(by_steps(layer, x, compiled_step), readable(layer, x))


@pytest.mark.parametrize("name", CELLS)
def test_steps_of_every_cell_without_gradients_are_the_scan(name, rng):
    layer = make(name, num_layers=2, residual=True, learn_initial_state=name != "slstm")
    for start in layer.initial_state:
        torch.nn.init.uniform_(start, generator=rng)
    x = torch.randn(2, 4, 3, generator=rng, dtype=torch.float64)
    outputs, state = layer(x)
    found = by_steps(layer, x, Recurrent.step)
    assert_close(found, (outputs.detach(), state.detach()))


@pytest.mark.parametrize("change", ["optimiser", "data", "loaded", "moved"])
def test_step_sees_every_change_of_the_weights(change, rng):
    layer = make("lstm")
    x = torch.randn(1, 3, 3, generator=rng, dtype=torch.float64)
    before, _ = by_steps(layer, x, compiled_step)
    match change:
        case "optimiser":
            layer(x)[0].square().sum().backward()
            torch.optim.SGD(layer.parameters(), lr=0.5).step()
        case "data":  # no version number tells of this one
            for value in layer.parameters():
                value.data *= 1.5
        case "loaded":
            layer.load_state_dict({k: v * 2 for k, v in layer.state_dict().items()})
        case "moved":
            layer.float().double()
            for value in layer.parameters():
                value.data = value.data.T.contiguous().T * 3 if value.dim() == 2 else value.data
    found = by_steps(layer, x, compiled_step)
    assert not torch.allclose(found[0], before)
    assert_close(found, readable(layer, x))


def test_step_reads_inputs_and_states_however_they_lie(rng):
    layer = make("gru", 8, 32)
    wide = torch.randn(8, 2, generator=rng, dtype=torch.float64)
    state = torch.randn(32, 2, 2, generator=rng, dtype=torch.float64).transpose(0, 2)[:, :1]
    x, start = wide.T, (state,)
    with torch.no_grad():
        found = compiled_step(layer, x, start)
        expected = compiled_step(layer, x.contiguous(), (state.contiguous(),))
        assert_close(found, expected)
        assert_close(found[0], layer(x[:, None], state=start)[0][:, 0])


def test_step_with_gradients_has_them_and_others_are_left_to_the_loop(rng):
    layer = make("lstm", recurrent_dropout=0.5).train()
    x = torch.randn(2, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    assert compiled_step(layer.eval(), x, None) is None
    layer.step(x)[0].sum().backward()
    assert x.grad.abs().sum() > 0 and layer.weights["l0"]["U"].grad is not None
    with torch.no_grad():
        assert compiled_step(layer, x, None) is not None
        assert compiled_step(layer, torch.zeros(FEW_ROWS + 1, 3).double(), None) is None
        assert compiled_step(layer, x.float(), None) is None
        assert compiled_step(layer.train(), x, None) is None


def test_steps_on_several_python_threads_do_not_mix(rng):
    layer = make("mogrifier_lstm", 8, 40)
    inputs = torch.randn(4, 1, 60, 8, generator=rng, dtype=torch.float64)
    expected = [by_steps(layer, x, compiled_step) for x in inputs]
    found = [None] * len(inputs)

    def run(k):
        found[k] = by_steps(layer, inputs[k], compiled_step)

    workers = [threading.Thread(target=run, args=(k,)) for k in range(len(inputs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for mine, wanted in zip(found, expected, strict=True):
        assert torch.equal(mine[0], wanted[0])


@pytest.mark.parametrize("name", ["lstm", "gru", "mogrifier_lstm"])
def test_step_shared_by_threads_is_the_same_bit_for_bit(name, rng, monkeypatch):
    layer = make(name, 9, 70)
    x = torch.randn(1, 7, 9, generator=rng, dtype=torch.float64)
    with threads(1):
        alone, _ = by_steps(layer, x, compiled_step)
    monkeypatch.setattr(together, "SHARED_BYTES", 0)
    single.single_step.cache_clear()
    with threads(2):
        plan = plan_of(CELLS[name], False, torch.float64)
        assert single.single_step(plan, 70, 9, 1, 2).threads == 2
        shared, _ = by_steps(layer, x, compiled_step)  # by turns alone and together
    single.single_step.cache_clear()
    assert torch.equal(alone, shared)
