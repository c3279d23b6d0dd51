"""What a recurrent layer can be asked for beside its cell, and what it refuses."""

import copy
import pickle

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.utils import _pytree as pytree

from test_recurrent import ALL, draw, draw_state, every_cell, make_layer, units_for
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.cells.find import find_cell
from unspool.engine.language import cell
from unspool.errors import BackendError, CellError, ConfigError, ShapeError
from unspool.layers.dropout import Dropout, reseed
from unspool.layers.initialisation import INITIALISATIONS
from unspool.layers.recurrent import Recurrent
from unspool.layers.state import State


@cell(state="h")
def carry(x, h, W, U):
    """A state that the identity in U keeps as it is."""
    return W.h @ x + U.h @ h


def make_carrier(rate, **options):
    layer = Recurrent(carry, 4, 4, recurrent_dropout=rate, **options)
    for weights in layer.weights.values():
        torch.nn.init.zeros_(weights["W"])
        torch.nn.init.eye_(weights["U"])
    return layer


# Dropout


def test_recurrent_mask_is_the_same_at_every_step():
    layer = make_carrier(rate=0.5)
    reseed(layer, 0)
    start = (torch.ones(64, 1, 4),)
    _, _, trace = layer(torch.zeros(64, 5, 4), state=start, trace=True)
    kept = trace["l0"]["h"][:, 0] > 0
    assert 0 < kept.sum() < kept.numel()
    for t in range(5):
        assert torch.equal(trace["l0"]["h"][:, t], kept * 2.0 ** (t + 1))


def test_recurrent_mask_differs_between_layers_and_directions():
    layer = make_carrier(rate=0.5, num_layers=2, bidirectional=True, learn_initial_state=True)
    torch.nn.init.ones_(layer.initial_state[0])
    reseed(layer, 0)
    _, (final,) = layer(torch.zeros(64, 1, 4))
    masks = final.unbind(1)
    assert len(masks) == 4
    assert not any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


@pytest.mark.parametrize("rates", [(0.4, 0.0), (0.0, 0.4), (0.4, 0.4)], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_masks_are_a_function_of_the_position_alone(name, rates, rng):
    layer = Recurrent(name, 3, 8, 2, dropout=rates[0], recurrent_dropout=rates[1], generator=rng)
    x = draw(rng, 4, 6, 3, dtype=torch.float32)

    def at(*position):
        reseed(layer, *position)
        torch.rand(position[-1])  # torch's global generator has no part in it
        return layer(x)[0]

    assert torch.equal(at(0, 7, 1), at(0, 7, 1))
    assert not torch.equal(at(0, 7, 1), at(0, 8, 1))
    assert not torch.equal(at(0, 7, 1), at(1, 7, 1))
    assert not torch.equal(layer(x)[0], layer(x)[0])


def test_dropout_does_nothing_outside_training(rng):
    layer = Recurrent("lstm", 3, 8, 2, dropout=0.5, recurrent_dropout=0.5, generator=rng)
    plain = Recurrent("lstm", 3, 8, 2)
    plain.load_state_dict(layer.state_dict())
    x = draw(rng, 4, 6, 3, dtype=torch.float32)
    assert torch.equal(layer.eval()(x)[0], plain(x)[0])
    assert not torch.equal(layer.train()(x)[0], plain(x)[0])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_expectation(rate):
    dropout = Dropout(rate)
    reseed(dropout, 0)
    mask = dropout.mask(torch.zeros(1), 200_000)
    deviation = (rate / (1.0 - rate) / 200_000) ** 0.5
    assert abs(mask.mean().item() - 1.0) < 5 * deviation
    assert set(mask.unique().tolist()) == {0.0, (torch.ones(1) / (1.0 - rate)).item()}


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
def test_dropout_rate_outside_its_range_is_an_error(option, rate):
    with pytest.raises(ConfigError, match=f"rate is {rate}; wanted 0 ≤ rate < 1"):
        Recurrent("rnn", 2, 3, **{option: rate})


# State


@every_cell
def test_learnt_initial_state_gets_the_gradient_of_the_state_it_is(name, rng):
    layer = make_layer(name, rng, num_layers=2, learn_initial_state=True)
    x, lengths = draw(rng, 3, 4, 2), torch.tensor([4, 1, 2])
    given = tuple(s.expand(3, -1, -1).detach().clone() for s in layer.initial_state)
    for value in given:
        value.requires_grad_()
    for start in (None, given):
        layer(x, lengths, start)[0].square().sum().backward()
    for learnt, value in zip(layer.initial_state, given, strict=True):
        assert learnt.grad.any()
        assert_close(learnt.grad, value.grad.sum(0))


@every_cell
def test_detached_state_carries_the_numbers_and_no_gradient(name, rng):
    layer = make_layer(name, rng)
    first, second = (draw(rng, 2, 3, 2).requires_grad_() for _ in range(2))
    _, state = layer(first)
    outputs, _ = layer(second, state=state)
    detached, _ = layer(second, state=state.detach())
    assert torch.equal(outputs, detached)
    through = torch.autograd.grad(outputs.sum(), first)[0]
    assert through.any()
    assert torch.autograd.grad(detached.sum(), first, allow_unused=True)[0] is None


def test_state_chooses_and_repeats_rows():
    state = State((torch.arange(6.0).view(3, 1, 2), torch.arange(3.0).view(3, 1, 1)))
    chosen = state.select_rows(torch.tensor([2, 2, 0]))
    assert [value[:, 0, 0].tolist() for value in chosen] == [[4, 4, 0], [2, 2, 0]]
    assert state.expand(2)[1].flatten().tolist() == [0, 0, 1, 1, 2, 2]


def test_state_stays_a_state_through_tree_maps_pickle_and_its_own_methods():
    state = State((torch.ones(2, 1, 3), torch.zeros(2, 1, 3)))
    leaves, structure = pytree.tree_flatten(state)
    assert len(leaves) == 2
    doubled = pytree.tree_map(lambda value: value * 2, state)
    restored = pickle.loads(pickle.dumps(state))
    rebuilt = pytree.tree_unflatten(leaves, structure)
    rows = torch.tensor([1])
    for made in (
        doubled, rebuilt, restored, state.detach(), state.expand(2), state.select_rows(rows)
    ):  # fmt: skip
        assert isinstance(made, State)
    assert torch.equal(doubled[0], state[0] * 2)


def test_step_changes_neither_the_state_it_was_given_nor_the_one_it_gave(rng):
    layer = make_layer("lstm", rng)
    _, first = layer.step(draw(rng, 2, 2))
    kept = [value.clone() for value in first]
    _, second = layer.step(draw(rng, 2, 2), first)
    with torch.no_grad():
        for value in second:
            value.fill_(9.0)
    assert all(torch.equal(value, copied) for value, copied in zip(first, kept, strict=True))


# Trace


@every_cell
def test_trace_holds_every_gate_and_state_and_changes_no_number(name, rng):
    layer = make_layer(name, rng, num_layers=2, bidirectional=True)
    x, lengths = draw(rng, 3, 4, 2), torch.tensor([4, 1, 2])
    outputs, final = layer(x, lengths)
    traced, state, trace = layer(x, lengths, trace=True)
    assert torch.equal(traced, outputs)
    assert_close(state, final)
    assert list(trace) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    gates = [gate for gate, _ in layer.cell.graph.gates]
    for values in trace.values():
        assert set(values) == {*gates, *layer.cell.states}
        assert all(not value[1, 1:].any() for value in values.values())
    if layer.cell.output is None:
        first = layer.cell.states[0]
        whole = torch.cat([trace["l1"][first], trace["l1_reverse"][first]], -1)
        assert torch.equal(whole, outputs)
    for index, letter in enumerate(layer.cell.states):
        assert torch.equal(trace["l0"][letter][0, 3], final[index][0, 0])
        assert torch.equal(trace["l0_reverse"][letter][0, 0], final[index][0, 1])


def test_trace_of_an_lstm_is_its_equations(rng):
    layer = make_layer("lstm", rng)
    x, state = draw(rng, 2, 4, 2), draw_state(layer, 2, rng)
    _, _, trace = layer(x, state=state, trace=True)
    values, weights = trace["l0"], layer.weights["l0"]
    h = torch.cat([state[0], values["h"][:, :-1]], 1)
    c = torch.cat([state[1], values["c"][:, :-1]], 1)
    sums = x @ weights["W"].T + h @ weights["U"].T + weights["b"]
    i, f, g, o = sums.chunk(4, -1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new = f * c + i * g
    expected = {"i": i, "f": f, "g": g, "o": o, "c": new, "h": o * new.tanh()}
    assert_close({name: values[name] for name in expected}, expected)


# The layer as a module


@every_cell
def test_copies_by_state_dict_deepcopy_and_pickle_compute_the_same(name, rng):
    layer = make_layer(name, rng, num_layers=2, bidirectional=True, learn_initial_state=True)
    reseed(layer, 0)
    loaded = make_layer(name, rng, num_layers=2, bidirectional=True, learn_initial_state=True)
    loaded.load_state_dict(layer.state_dict())
    copies = loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    x, lengths = draw(rng, 2, 3, 2), torch.tensor([3, 2])
    expected, _ = layer(x, lengths)
    with torch.no_grad():
        next(layer.parameters()).zero_()
    for made in copies:
        assert torch.equal(made(x, lengths)[0], expected)


@every_cell
@pytest.mark.parametrize("scheme", INITIALISATIONS)
def test_first_weights_are_those_of_the_generator(name, scheme):
    def make(seed):
        return Recurrent(
            ALL[name], 3, units_for(name), initialisation=scheme,
            generator=torch.Generator().manual_seed(seed),
        ).state_dict()  # fmt: skip

    first, second, other = make(0), make(0), make(1)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(value.isfinite().all() for value in first.values())
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_recurrent_matrices_start_orthogonal_as_identity_and_forget_bias_as_asked():
    layer = Recurrent("lstm", 3, 5, forget_bias=2.5)
    for matrix in layer.weights["l0"]["U"].detach().double().chunk(4):
        assert torch.allclose(matrix @ matrix.T, torch.eye(5).double(), atol=1e-6)
    bias = layer.weights["l0"]["b"].detach().view(4, 5)
    assert bias[1].eq(2.5).all() and not bias[[0, 2, 3]].any()
    rectified = Recurrent("rnn", 3, 5, initialisation="irnn")
    assert torch.equal(rectified.weights["l0"]["U"].detach(), torch.eye(5))
    assert rectified.weights["l0"]["W"].abs().max() < 0.01


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_torch_serves_equal_equations_under_other_letters(name, rng, tmp_path):
    spelt = {
        "rnn": "return tanh(A.k @ x + B.k @ h + c.k)",
        "lstm": """i = sigmoid(A.i @ x + B.i @ h + p.i)
    f = sigmoid(A.f @ x + B.f @ h + p.f)
    g = tanh(A.g @ x + B.g @ h + p.g)
    o = sigmoid(A.o @ x + B.o @ h + p.o)
    c = f * c + i * g
    return o * tanh(c), c""",
    }[name]
    letters = {"rnn": "h, A, B, c", "lstm": "h, c, A, B, p"}[name]
    state = {"rnn": "h", "lstm": "h c"}[name]
    path = tmp_path / "mine.py"
    path.write_text(
        "from unspool import cell, sigmoid, tanh\n"
        f'@cell(state="{state}")\ndef mine(x, {letters}):\n    {spelt}\n'
    )
    layer = Recurrent(f"{path}:mine", 3, 4, backend="torch")
    known = Recurrent(name, 3, 4, backend="torch")
    for own, value in zip(layer.parameters(), known.parameters(), strict=True):
        own.data.copy_(value)
    x = draw(rng, 2, 5, 3, dtype=torch.float32)
    assert torch.equal(layer(x)[0], known(x)[0])


# Refusals

REFUSED = {
    "a packed sequence": (
        lambda layer: layer(pack_sequence([torch.zeros(2, 3)])), "PackedSequence; pass.*lengths="
    ),
    "two axes": (lambda layer: layer(torch.zeros(2, 3)), r"\[2, 3\]; wanted \[B, T ≥ 1, 3\]"),
    "another width": (lambda layer: layer(torch.zeros(2, 5, 4)), r"inputs are \[2, 5, 4\]"),
    "no steps": (lambda layer: layer(torch.zeros(2, 0, 3)), r"inputs are \[2, 0, 3\]"),
    "token ids": (lambda layer: layer(torch.zeros(2, 5, 3).long()), "int64; wanted floating"),
    "too long": (
        lambda layer: layer(torch.zeros(2, 5, 3), torch.tensor([5, 6])),
        r"lengths\[1\] is 6, but inputs have 5 steps",
    ),
    "empty row": (
        lambda layer: layer(torch.zeros(2, 5, 3), torch.tensor([0, 6])), r"lengths\[0\] is 0; every"
    ),
    "one length for two rows": (
        lambda layer: layer(torch.zeros(2, 5, 3), torch.tensor([5])), "1 lengths for 2 sequences"
    ),
    "lengths that are not whole": (
        lambda layer: layer(torch.zeros(2, 5, 3), torch.tensor([5.0, 2.0])), "torch.float32 of"
    ),
    "half a state": (
        lambda layer: layer(torch.zeros(2, 5, 3), state=(torch.zeros(2, 1, 4),)),
        r"state has 1 tensors; cell 'lstm' has the states \(h, c\)",
    ),
    "a state of other rows": (
        lambda layer: layer(torch.zeros(2, 5, 3), state=(torch.zeros(3, 1, 4),) * 2),
        r"state 'h' is \[3, 1, 4\]; wanted \[2, 1, 4\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_input_that_does_not_fit_is_refused_saying_how(case, unchecked):
    call, message = REFUSED[case]
    with pytest.raises(ShapeError, match=message):
        call(Recurrent("lstm", 3, 4))


def test_bidirectional_layer_refuses_to_stream(rng):
    layer = make_layer("gru", rng, bidirectional=True)
    with pytest.raises(ShapeError, match=r"step: the layer is bidirectional"):
        layer.step(torch.zeros(2, 2).double())
    _, state = layer(torch.zeros(2, 3, 2).double())
    with pytest.raises(ShapeError, match="bidirectional and cannot go on from a state"):
        layer(torch.zeros(2, 3, 2).double(), state=state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "gruu"}, "Recurrent: unknown name 'gruu'.*Did you mean 'gru'"),
        ({"cell": lambda x, h: h}, "cell is a function; wanted a name, or a function decorated"),
        ({"hidden_size": 0}, "hidden_size is 0; wanted at least 1"),
        ({"num_layers": -1}, "num_layers is -1"),
        ({"initialisation": "ortho"}, "unknown name 'ortho'.*'orthogonal'"),
        ({"backend": "touch"}, "backend: unknown name 'touch'.*'torch'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_setting_that_cannot_be_is_refused(options, message, unchecked):
    with pytest.raises(ConfigError, match=message):
        Recurrent(**{"cell": "rnn", "input_size": 2, "hidden_size": 3, **options})


def test_backend_that_cannot_serve_says_why(rng):
    with pytest.raises(BackendError, match=r"no kernel of torch computes .* cell 'gru'"):
        Recurrent("gru", 2, 3, backend="torch")
    layer = Recurrent("lstm", 2, 3, backend="torch", recurrent_dropout=0.5)
    with pytest.raises(BackendError, match="do not hand out gates"):
        layer.eval()(torch.zeros(1, 2, 2), trace=True)
    with pytest.raises(BackendError, match="no dropout inside the recurrence"):
        layer.train()(torch.zeros(1, 2, 2))
    assert layer.backend == "torch"


# Cells from a user's file

MINE = """from unspool import cell, tanh

@cell(state="h")
def leaky(x, h, W, U, b, keep=0.9):
    new = tanh(W.h @ x + U.h @ h + b.h)
    h = keep * h + (1 - keep) * new
    return h

number = 3
"""


def test_cell_of_a_file_serves_wherever_a_name_does(tmp_path, rng):
    path = tmp_path / "my_file.py"
    path.write_text(MINE)
    found = find_cell(f"{path}:leaky")
    layer = Recurrent(f"{path}:leaky", 2, 3, generator=rng)
    assert found.states == ("h",) and layer.cell.name == "leaky"
    x = draw(rng, 2, 4, 2, dtype=torch.float32)
    again = pickle.loads(pickle.dumps(layer))
    assert torch.equal(again(x)[0], layer(x)[0])
    slower = Recurrent(found.with_options(keep=1.0), 2, 3)
    assert not slower(x)[0].any()


@pytest.mark.parametrize(
    ("text", "name", "error", "message"),
    [
        (MINE, "leeky", ConfigError, "has no cell 'leeky'; it has leaky. Did you mean 'leaky'"),
        (MINE, "number", ConfigError, "'number' is int, not a cell"),
        (MINE.replace("keep * h", "keep * * h"), "leaky", CellError, "my_file.py:6: SyntaxError"),
        (MINE + "1 / 0\n", "leaky", CellError, "my_file.py:10: ZeroDivisionError"),
        (
            MINE.replace("W.h @ x", "(x + h)"),
            "leaky",
            CellError,
            "my_file.py:5: .*shapes are mixed",
        ),
        (None, "leaky", ConfigError, "no file '.*my_file.py'"),
    ],
    ids=["near name", "not a cell", "syntax", "fails", "equations", "no file"],
)
def test_mistake_in_a_users_file_is_shown_where_it_is(text, name, error, message, tmp_path):
    path = tmp_path / "my_file.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message) as caught:
        find_cell(f"{path}:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("my_file.py", ConfigError, "wanted the cell as well, as in 'my_file.py:my_cell'"),
        ("nowhere_at_all:leaky", ConfigError, "no module 'nowhere_at_all'"),
        (":leaky", ConfigError, "no module ''"),
        ("broken:leaky", CellError, "module 'broken': ModuleNotFoundError: .*'not_installed'"),
        ("unspool.cells:lstmm", ConfigError, "Did you mean 'lstm'"),
    ],
)
def test_mistake_in_a_module_name_is_told_from_one_inside_it(
    name, error, message, tmp_path, monkeypatch
):
    (tmp_path / "broken.py").write_text("import not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=message):
        find_cell(name)


def test_cell_names_of_the_package_are_found():
    assert all(find_cell(name) is CELLS[name] for name in CELLS)
    assert find_cell("unspool.cells:lstm") is CELLS["lstm"]
