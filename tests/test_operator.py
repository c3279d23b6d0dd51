"""The scan as a leaf of torch.compile and torch.export, against the plain call."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import compiled
from scanning import draw_case, lengths_for, mask_for, threads, unchecked
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine import operator
from unspool.engine.scan import scan
from unspool.errors import BackendError
from unspool.layers.recurrent import Recurrent

# One state, two, four; a gate as wide as the input; a product with a tensor.
KINDS = ["rnn", "lstm", "slstm", "mogrifier_lstm", "multiplicative_rnn"]
every_kind = pytest.mark.parametrize("name", KINDS)


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1), unchecked():
        yield


def draw(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def arguments(name, masked=False, trace=False, backend="auto"):
    """What the operator takes, every tensor wanting a gradient."""
    parameters, x, state = draw_case(CELLS[name], (4, 3, 2, 5))
    mask = mask_for(state) if masked else None
    x, *state = (value.requires_grad_() for value in (x, *state))
    weights = [value.requires_grad_() for value in parameters.values()]
    text = CELLS[name].text
    return (
        text, " ".join(parameters), x, weights, state, lengths_for(4, 3), mask, True, trace, backend
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "backend"), [("lstm", "auto"), ("multiplicative_rnn", "auto"), ("gru", "reference")]
)
def test_operator_is_registered_as_torch_demands(name, backend):
    call = arguments(name, masked=name == "lstm", backend=backend)
    torch.library.opcheck(torch.ops.unspool.scan, call)


@every_kind
def test_operator_has_the_gradient_of_finite_differences(name):
    text, families, x, weights, state, *rest = arguments(name)
    count = len(weights)

    def run(x, *tensors):
        return torch.ops.unspool.scan(text, families, x, tensors[:count], tensors[count:], *rest)

    assert torch.autograd.gradcheck(run, (x, *weights, *state), fast_mode=True)


@every_kind
def test_operator_gives_the_shapes_it_promises(name):
    call = arguments(name, trace=True)
    promised, made = operator._shapes(*call), torch.ops.unspool.scan(*call)
    assert [value.shape for value in promised] == [value.shape for value in made]
    assert all(value.is_contiguous() for value in made)


@pytest.fixture(scope="module")
def under_compile():
    """What `compiled.py` found, by check."""
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("check", [check.__name__ for check in compiled.CHECKS])
def test_compiled_layer_is_the_plain_one(check, under_compile):
    assert not under_compile[check], under_compile[check]


def test_exported_model_is_the_plain_one_at_other_sizes_and_after_saving(rng):
    layer = Recurrent("gru", 3, 5, num_layers=2, generator=rng).double()
    B, T = torch.export.Dim("B", min=1, max=64), torch.export.Dim("T", min=1, max=64)
    given = draw(rng, 2, 7, 3), torch.tensor([7, 4])
    program = torch.export.export(layer, given, dynamic_shapes=({0: B, 1: T}, {0: B}))
    leaves = [n for n in program.graph.nodes if n.target is torch.ops.unspool.scan.default]
    assert len(leaves) == 2  # one a layer
    saved = io.BytesIO()
    torch.export.save(program, saved)
    saved.seek(0)
    x, lengths = draw(rng, 3, 9, 3), torch.tensor([9, 1, 5])
    expected = layer(x, lengths)
    for found in (program.module(), torch.export.load(saved).module()):
        assert_close(found(x, lengths), expected)


def test_cell_is_read_from_its_text_where_nobody_knows_it():
    call = arguments("gru")
    expected = torch.ops.unspool.scan(*call)
    known = dict(operator._NAMED)
    operator._NAMED.clear()
    try:
        assert_close(torch.ops.unspool.scan(*call), expected)
    finally:
        operator._NAMED.update(known)


def test_plain_call_never_passes_through_the_operator(monkeypatch):
    def refuse(*call):
        raise AssertionError("the operator was called")

    monkeypatch.setattr("unspool.engine.scan._leaf", refuse)
    case = draw_case(CELLS["lstm"], (4, 3, 2, 5))
    assert scan(CELLS["lstm"], *case).outputs.isfinite().all()


def test_backend_that_cannot_serve_is_refused_when_the_operator_runs():
    with pytest.raises(BackendError, match="no kernel of torch"):
        torch.ops.unspool.scan(*arguments("gru", backend="torch"))
