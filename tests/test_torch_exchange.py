"""After exchanging weights the numbers are those of `torch.nn`, gradients included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine.language import cell, sigmoid, tanh
from unspool.errors import ConfigError
from unspool.layers.recurrent import Recurrent

KINDS = {
    "rnn_tanh": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="tanh", **options),
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


@st.composite
def cases(draw):
    """Shapes, lengths and options."""
    B, T = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    lengths = draw(st.none() | st.lists(st.integers(1, T), min_size=B, max_size=B))
    return {
        "shape": (B, T, draw(st.integers(1, 5)), draw(st.integers(1, 6))),
        "lengths": lengths,
        "num_layers": draw(st.integers(1, 2)),
        "bidirectional": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**31)),
    }


def make_theirs(kind, case, dtype, rng):
    _, _, D, H = case["shape"]
    module = KINDS[kind](
        D, H, case["num_layers"], batch_first=True, bidirectional=case["bidirectional"]
    ).to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.5, 0.5, generator=rng)
    return module


def run_theirs(module, x, lengths, state):
    """Outputs and final state with the batch first, ragged rows packed as torch wants them."""
    start = None
    if state is not None:
        start = tuple(value.transpose(0, 1).contiguous() for value in state)
        start = start if isinstance(module, nn.LSTM) else start[0]
    if lengths is None:
        outputs, final = module(x, start)
    else:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, final = module(packed, start)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
    final = final if isinstance(final, tuple) else (final,)
    return outputs, [value.transpose(0, 1) for value in final]


def with_gradients(run, x, state):
    """What a run gives, and the gradients that reach its inputs and its initial state."""
    x = x.clone().requires_grad_()
    state = state and tuple(value.clone().requires_grad_() for value in state)
    outputs, final = run(x, state)
    outputs.square().sum().add(sum(value.sin().sum() for value in final)).backward()
    return [outputs, *final, x.grad, *(value.grad for value in state or ())]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(case=cases())
def test_numbers_are_those_of_torch_after_exchange(kind, backend, dtype, case):
    rng = torch.Generator().manual_seed(case["seed"])
    theirs = make_theirs(kind, case, dtype, rng)
    ours = Recurrent.from_torch(theirs)
    ours.named_backend = backend
    B, T, D, H = case["shape"]
    x = torch.randn(B, T, D, generator=rng, dtype=dtype)
    lengths = case["lengths"] and torch.tensor(case["lengths"])
    state = None
    if not case["bidirectional"]:
        shape = B, case["num_layers"], H
        state = tuple(torch.randn(shape, generator=rng, dtype=dtype) for _ in ours.cell.states)
    expected = with_gradients(lambda *a: run_theirs(theirs, a[0], lengths, a[1]), x, state)
    found = with_gradients(lambda *a: ours(a[0], lengths, a[1]), x, state)
    assert_close(found, expected)
    for (_, weights), names in zip(ours.weights.items(), theirs.all_weights, strict=True):
        gradients = [parameter.grad for parameter in weights.values()]
        W, U, outer, inner = [parameter.grad for parameter in names]
        assert_close(gradients[:3], [W, U, outer])
        if len(gradients) > 3:
            assert_close(gradients[3], inner[-H:])


MEMBERS = {
    "rnn": CELLS["rnn"],
    "rnn_relu": CELLS["rnn"].with_options(activation="relu"),
    "lstm": CELLS["lstm"],
    "gru_reset_after": CELLS["gru_reset_after"],
}


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("name", MEMBERS)
def test_weights_come_back_from_torch_bit_for_bit(name, bidirectional, rng):
    options = {"num_layers": 2, "bidirectional": bidirectional, "dropout": 0.25}
    layer = Recurrent(MEMBERS[name], 3, 5, **options).double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1, 1, generator=rng)
    module = layer.to_torch()
    back = Recurrent.from_torch(module)
    assert module.batch_first and not module.training and not back.training
    assert back.dropout.rate == module.dropout == 0.25
    assert back.cell.fingerprint == layer.cell.fingerprint
    for key, value in layer.state_dict().items():
        assert torch.equal(back.state_dict()[key], value)
    x = torch.randn(2, 4, 3, generator=rng, dtype=torch.float64)
    assert_close(module(x)[0], layer(x)[0])


def test_exchanged_layers_share_no_memory(rng):
    layer = Recurrent("lstm", 3, 5)
    module = layer.to_torch()
    back = Recurrent.from_torch(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7.0)
    for made in (layer, back):
        assert not any(parameter.eq(7.0).any() for parameter in made.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_module_without_biases_gets_biases_of_zero(kind, rng):
    theirs = KINDS[kind](3, 4, bias=False, batch_first=True)
    ours = Recurrent.from_torch(theirs)
    x = torch.randn(2, 5, 3, generator=rng)
    assert_close(ours(x)[0], theirs(x)[0])
    assert not ours.weights["l0"]["b"].any()


def test_module_with_time_first_gives_a_layer_with_the_batch_first(rng):
    theirs = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3, generator=rng)
    assert_close(Recurrent.from_torch(theirs)(x.transpose(0, 1))[0].transpose(0, 1), theirs(x)[0])


def test_cell_of_the_users_own_is_exchanged_when_its_equations_are_known():
    @cell(state="s")
    def mine(x, s, A, B, p, q):
        r = sigmoid(A.r @ x + B.r @ s + p.r)
        z = sigmoid(A.z @ x + B.z @ s + p.z)
        n = tanh(A.n @ x + p.n + r * (B.n @ s + q.n))
        return z * s + (1 - z) * n

    layer = Recurrent(mine, 3, 4)
    x = torch.ones(1, 3, 3)
    assert_close(layer.to_torch()(x)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recurrent.from_torch(nn.Linear(2, 3)), "got Linear; wanted torch.nn.RNN, LSTM"),
        (lambda: Recurrent.from_torch(nn.LSTM(2, 4, proj_size=2)), r"to 2 \(proj_size\)"),
        (lambda: Recurrent("gru", 2, 3).to_torch(), "torch.nn has no layer .* of cell 'gru'"),
        (lambda: Recurrent("rnn", 2, 3, 2, residual=True).to_torch(), "residual connections"),
        (lambda: Recurrent("rnn", 2, 3, learn_initial_state=True).to_torch(), "learnt initial"),
        (lambda: Recurrent("rnn", 2, 3, recurrent_dropout=0.1).to_torch(), r"`.eval\(\)` ends"),
    ],
)
def test_what_cannot_be_exchanged_is_refused_saying_what(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_dropout_inside_the_recurrence_does_not_stop_an_exchange_for_prediction():
    assert isinstance(Recurrent("rnn", 2, 3, recurrent_dropout=0.1).eval().to_torch(), nn.RNN)
