"""What a fused scan owes its callers: memory of any layout, autograd's contract, clear refusals."""

import pytest
import torch

from scanning import (
    draw_case,
    everything,
    lengths_for,
    mask_for,
    threads,
    unchecked,
    wave,
)
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine.scan import choose_backend, scan
from unspool.errors import BackendError


def serves(member):
    try:
        return bool(choose_backend(member, torch.zeros(1), "llvm"))
    except BackendError:
        return False


with unchecked():
    FUSED = [name for name in CELLS if serves(CELLS[name])]
every_fused = pytest.mark.parametrize("name", FUSED)


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1), unchecked():
        yield


# Tensors as users have them.


def test_tensors_may_lie_in_memory_any_way():
    member = CELLS["lstm"]
    parameters, x, state = draw_case(member, (4, 3, 2, 16))
    expected = scan(member, parameters, x, state, backend="reference").outputs
    spread = {name: torch.stack([p, p], -1).flatten(-2)[..., ::2] for name, p in parameters.items()}
    for other in (
        x.transpose(0, 1).contiguous().transpose(0, 1),
        torch.stack([x, x], -1)[..., 0],
        x.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    ):
        assert not other.is_contiguous()
        assert torch.equal(other, x)
        strided = tuple(torch.stack([s, s], -1)[..., 1] for s in state)
        assert_close(scan(member, spread, other, strided, backend="llvm").outputs, expected)


def test_expanded_tensors_are_read_as_if_they_were_whole():
    member = CELLS["gru"]
    parameters, x, state = draw_case(member, (4, 3, 2, 16))
    start, same = state[0][:1].expand(3, -1), x[:, :1].expand(-1, 3, -1)
    found = scan(member, parameters, same, (start,), backend="llvm").outputs
    expected = scan(member, parameters, same, (start,), backend="reference").outputs
    assert_close(found, expected)
    assert torch.equal(found[:, 0], found[:, 2])


def test_gradient_of_an_expanded_start_is_summed():
    member = CELLS["lstm"]
    parameters, x, state = draw_case(member, (4, 3, 2, 16))
    gradients = []
    for backend in ("llvm", "reference"):
        start = [s[:1].clone().requires_grad_() for s in state]
        result = scan(member, parameters, x, tuple(s.expand(3, -1) for s in start), backend=backend)
        gradients.append(torch.autograd.grad(result.outputs.square().sum(), start))
    assert_close(*gradients)


# Autograd's own contract.


@pytest.mark.parametrize("units", [9, 32])  # 32 are whole panels of vectors on any processor
@pytest.mark.parametrize("wanted", ["x", "W", "U", "b", "h", "c"])
def test_gradient_of_one_alone_is_the_same_as_among_all(wanted, units):
    member = CELLS["lstm"]
    case = draw_case(member, (4, 3, 2, units))
    expected = everything(member, "llvm", case)[f"gradient of {wanted}"]
    parameters, x, state = case
    leaves = {"x": x, **parameters, **dict(zip(member.states, state, strict=True))}
    leaf = leaves[wanted].requires_grad_()
    result = scan(member, parameters, x, state, backend="llvm")
    ends = (result.outputs, *result.state)
    assert_close(torch.autograd.grad(sum((e * wave(e)).sum() for e in ends), leaf)[0], expected)


def test_gradient_through_final_states_alone_is_that_of_the_loop():
    member = CELLS["lstm"]
    parameters, x, state = draw_case(member, (4, 3, 2, 9))
    x.requires_grad_()
    found = []
    for backend in ("llvm", "reference"):
        result = scan(member, parameters, x, state, lengths=lengths_for(4, 3), backend=backend)
        found.append(torch.autograd.grad(result.state[1].square().sum(), x)[0])
    assert_close(*found)


def test_backward_can_be_run_twice_when_the_graph_is_retained():
    member = CELLS["gru"]
    parameters, x, state = draw_case(member, (4, 3, 2, 9))
    leaves = [value.requires_grad_() for value in (x, *parameters.values(), *state)]
    loss = scan(member, parameters, x, state, backend="llvm").outputs.square().sum()
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    second = torch.autograd.grad(loss, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("quiet", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm"])
def test_outputs_are_the_same_without_gradients(name, quiet):
    parameters, x, state = draw_case(CELLS[name], (4, 3, 2, 9))
    for value in parameters.values():
        value.requires_grad_()
    expected = scan(CELLS[name], parameters, x, state, backend="llvm")
    with quiet():
        found = scan(CELLS[name], parameters, x, state, backend="llvm", trace=True)
    assert torch.equal(found.outputs, expected.outputs)
    assert all(torch.equal(a, b) for a, b in zip(found.state, expected.state, strict=True))
    assert not found.outputs.requires_grad


@pytest.mark.parametrize("units", [9, 32], ids=["odd", "whole vectors"])
@pytest.mark.parametrize("what", ["outputs", "state", "trace", "x", "start", "weights", "mask"])
def test_change_in_place_never_spoils_a_gradient_in_silence(what, units):
    """Either autograd refuses, or a copy protects and the gradient is the right one."""
    member = CELLS["gru"]
    parameters, x, state = draw_case(member, (4, 3, units, units), torch.float32)
    mask = mask_for(state)
    options = {"mask": mask, "trace": True, "backend": "llvm"}
    leaves = [value.requires_grad_() for value in (x, *parameters.values(), *state)]
    result = scan(member, parameters, x, state, **options)
    expected = torch.autograd.grad(result.outputs.sum() + result.state[0].sum(), leaves)
    result = scan(member, parameters, x, state, **options)
    loss = result.outputs.sum() + result.state[0].sum()
    changed = {
        "outputs": [result.outputs],
        "state": result.state,
        "trace": result.trace.values(),
        "x": [x],
        "start": state,
        "weights": parameters.values(),
        "mask": [mask],
    }
    with torch.no_grad():
        for value in changed[what]:
            value.mul_(3.0)
    try:
        found = torch.autograd.grad(loss, leaves)
    except RuntimeError as error:
        assert "in-place" in str(error) or "inplace" in str(error)
    else:
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)


@every_fused
def test_inputs_are_left_as_they_were(name):
    """Sizes that fill whole vectors, where memory need not be copied and could be written over."""
    parameters, x, state = draw_case(CELLS[name], (3, 4, 32, 32))
    before = [value.clone() for value in (x, *state, *parameters.values())]
    leaves = [value.requires_grad_() for value in (x, *state, *parameters.values())]
    result = scan(CELLS[name], parameters, x, state, backend="llvm", trace=True)
    outputs = result.outputs.clone()
    torch.autograd.grad(result.outputs.sum(), leaves, allow_unused=True)
    assert all(torch.equal(one, other) for one, other in zip(leaves, before, strict=True))
    assert torch.equal(result.outputs, outputs)


@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm"])
def test_second_derivative_is_that_of_finite_differences(name):
    parameters, x, state = draw_case(CELLS[name], (3, 2, 2, 3))

    def run(x, weight):
        weights = {**parameters, "U": weight}
        lengths = torch.tensor([2, 3])
        return scan(CELLS[name], weights, x, state, lengths=lengths, backend="llvm").outputs

    inputs = x.requires_grad_(), parameters["U"].requires_grad_()
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm"])
@pytest.mark.parametrize("units", [9, 32], ids=["odd", "whole vectors"])
def test_change_of_one_result_changes_no_other(name, units):
    """Without gradients; with them `backward` notices."""
    result = scan(
        CELLS[name], *draw_case(CELLS[name], (4, 3, 2, units)), trace=True, backend="llvm"
    )
    values = [result.outputs, *result.state, *result.trace.values()]
    for value in values:
        before = [other.clone() for other in values]
        value.add_(1.0)
        assert all(
            torch.equal(other, old)
            for other, old in zip(values, before, strict=True)
            if other is not value
        )


def test_trace_costs_no_memory_when_training():
    parameters, x, state = draw_case(CELLS["lstm"], (4, 3, 2, 32))
    leaves = [value.requires_grad_() for value in parameters.values()]
    result = scan(CELLS["lstm"], parameters, x, state, trace=True, backend="llvm")
    memories = {value.untyped_storage().data_ptr() for value in result.trace.values()}
    read_back = result.outputs.grad_fn.call.memory.values()
    assert memories <= {value.untyped_storage().data_ptr() for value in read_back}
    assert result.outputs.untyped_storage().data_ptr() in memories
    before = [value.clone() for value in result.trace.values()]
    torch.autograd.grad(result.outputs.sum(), leaves)
    assert all(map(torch.equal, before, result.trace.values()))
    assert not any(value.requires_grad for value in result.trace.values())


def test_final_states_are_copies_of_their_own():
    result = scan(CELLS["lstm"], *draw_case(CELLS["lstm"], (4, 3, 2, 32)), backend="llvm")
    memories = {value.untyped_storage().data_ptr() for value in (result.outputs, *result.state)}
    assert len(memories) == 3
