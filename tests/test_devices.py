"""Other devices than the CPU: recorded loops, parity, and what can only be seen with a GPU."""

import pytest
import torch
from torch import nn

from scanning import assert_same, draw_case, everything, mask_for, unchecked
from unspool.cells import CELLS
from unspool.engine import captured
from unspool.engine.scan import choose_backend, scan
from unspool.errors import BackendError
from unspool.layers.parity import check_device
from unspool.layers.recurrent import Recurrent

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
KINDS = ["rnn", "gru", "slstm", "mogrifier_lstm", "multiplicative_rnn"]


@pytest.fixture(autouse=True)
def quick():
    with unchecked():
        yield


# Recorded loops; here the replay runs the function again, over the same fixed memory.


@pytest.fixture
def replayed(monkeypatch):
    """The backend ``graph`` on the CPU: everything but the recording itself."""

    def record(function):
        """A replay writes where the recording wrote, as a CUDA graph does."""
        owner = function.__self__
        place = {"_run_forward": "results", "_run_backward": "found"}[function.__name__]
        function()
        fixed = getattr(owner, place)

        def replay():
            function()
            for memory, value in zip(fixed, getattr(owner, place), strict=True):
                if memory is not None:
                    memory.copy_(value.detach())
            setattr(owner, place, fixed)

        return replay

    def refusal(like, trace, ragged):
        return "no trace" if trace else None

    monkeypatch.setattr(captured, "record", record)
    monkeypatch.setattr(captured, "refusal", refusal)
    monkeypatch.setattr(captured, "STEPS", 3)
    monkeypatch.setattr(captured, "_RECORDED", captured.OrderedDict())
    return captured._RECORDED


def gradients_of(member, backend, case, **options):
    """Outputs, final states and gradients, without a trace."""
    parameters, x, state = case
    leaves = [value.detach().requires_grad_() for value in (x, *state, *parameters.values())]
    x, state, weights = leaves[0], leaves[1 : 1 + len(state)], leaves[1 + len(state) :]
    weights = dict(zip(parameters, weights, strict=True))
    result = scan(member, weights, x, tuple(state), backend=backend, **options)
    ends = (result.outputs, *result.state)
    loss = sum((end * end.detach().cos()).sum() for end in ends)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    named = [*ends, *(torch.zeros(1) if value is None else value for value in found)]
    return {str(number): value.detach() for number, value in enumerate(named)}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_recorded_loop_is_the_readable_one(name, reverse, replayed):
    case = draw_case(CELLS[name], (7, 3, 2, 5))
    options = {"reverse": reverse, "mask": mask_for(case[2])}
    expected = gradients_of(CELLS[name], "reference", case, **options)
    assert_same(gradients_of(CELLS[name], "graph", case, **options), expected)
    assert len(replayed) == 2  # pieces of three steps, and the last of one


def test_recorded_loop_may_be_called_again_before_the_way_back(replayed):
    """Every call reads and writes the same memory; none may see another's."""
    first, second = (draw_case(CELLS["gru"], (3, 3, 2, 5), seed=seed) for seed in (1, 2))
    found, expected = [], []
    for backend, into in (("graph", found), ("reference", expected)):
        inputs = [case[1].clone().requires_grad_() for case in (first, second)]
        results = [
            scan(CELLS["gru"], case[0], x, case[2], backend=backend)
            for case, x in zip((first, second), inputs, strict=True)
        ]
        for result, x in zip(results, inputs, strict=True):
            into += [result.outputs.detach(), *torch.autograd.grad(result.outputs.sum(), x)]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_recorded_loops_that_were_not_used_for_long_are_let_go(replayed, monkeypatch):
    monkeypatch.setattr(captured, "KEPT", 2)
    for units in (3, 4, 5):
        scan(CELLS["rnn"], *draw_case(CELLS["rnn"], (3, 1, 2, units)), backend="graph")
    assert len(replayed) == 2


def test_recorded_loop_is_refused_where_it_cannot_serve():
    like = torch.zeros(1)
    with pytest.raises(BackendError, match="replays CUDA graphs, the inputs are on cpu"):
        choose_backend(CELLS["gru"], like, "graph")
    far = torch.zeros(1, device="meta")
    assert choose_backend(CELLS["gru"], far) == "reference"
    assert captured.refusal(far, False, False) == "it replays CUDA graphs, the inputs are on meta"


# Parity.


@pytest.mark.parametrize("name", KINDS)
def test_device_that_computes_the_same_passes(name, rng):
    model = nn.Sequential(Recurrent(name, 3, 6, bidirectional=True, generator=rng))
    error = check_device(model, torch.device("cpu"), move=lambda layer: layer)
    assert 0.0 < error < 1e-5  # float32 here, float64 there


@pytest.mark.parametrize("spoilt", ["weights", "gradient", "ragged"])
def test_device_that_computes_something_else_is_named_with_the_layer(spoilt, rng):
    model = nn.ModuleDict({"encoder": Recurrent("gru", 3, 6, generator=rng)})

    def move(layer):
        plain = layer.forward

        def forward(x, lengths=None):
            outputs, state = plain(x, lengths)
            if spoilt == "gradient":
                outputs = outputs.detach() + 0.9 * (outputs - outputs.detach())
            if spoilt == "ragged" and lengths is not None:
                outputs = outputs + 0.1
            return outputs, state

        layer.forward = forward
        if spoilt == "weights":
            next(layer.parameters()).data += 0.1
        return layer

    with pytest.raises(BackendError, match=r"'encoder' \(gru, backend \w+\) differs from the CPU"):
        check_device(model, torch.device("cpu"), move=move)


def test_comparison_leaves_the_model_as_it_was(rng):
    model = Recurrent("lstm", 3, 6, dropout=0.5, num_layers=2, generator=rng)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_device(model, torch.device("cpu"), move=lambda layer: layer)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())


# With a GPU.


@needs_gpu
@pytest.mark.parametrize("name", CELLS)
def test_cell_on_cuda_is_the_readable_loop(name):
    check_device(Recurrent(name, 3, 8), torch.device("cuda"))


@needs_gpu
@pytest.mark.parametrize("name", CELLS)
def test_cell_on_cuda_takes_a_kernel_of_the_library_or_a_recorded_loop(name):
    backend = choose_backend(CELLS[name], torch.zeros(1, device="cuda"))
    assert backend in ("torch", "graph")
    case = draw_case(CELLS[name], (5, 3, 2, 8))
    far = (
        {n: v.cuda() for n, v in case[0].items()},
        case[1].cuda(),
        tuple(s.cuda() for s in case[2]),
    )
    expected = everything(CELLS[name], "reference", case)["outputs"]
    found = scan(CELLS[name], *far).outputs.cpu()
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()
