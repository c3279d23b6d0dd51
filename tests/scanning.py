"""One scan with everything it gives: outputs, final states, trace, and every gradient."""

from contextlib import contextmanager

import jaxtyping
import torch

from equations import draw_parameters, units_for
from tolerance import TOLERANCES
from unspool.engine.scan import scan


@contextmanager
def unchecked():
    """Without the shape checks of the test run, which cost more than a scan of a few steps."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@contextmanager
def threads(count):
    """So many of torch's threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def lengths_for(steps, batch):
    """Ragged and unsorted; the longest is full, the shortest is 1 where there is more than one."""
    return torch.tensor([1 + (row * 3 + steps - 1) % steps for row in range(batch)])


def draw_case(member, sizes, dtype=torch.float64, seed=0):
    """Parameters by family, inputs, and states before the first step."""
    T, B, D, H = sizes
    rng = torch.Generator().manual_seed(seed)
    H = units_for(member.graph, H)
    parameters = draw_parameters(member.graph, D, H, rng, dtype)

    def draw(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)

    x = draw(T, B, D)
    # A normaliser is a sum of exponentials: positive.
    state = tuple(draw(B, H).abs() + 1 if name == "n" else draw(B, H) for name in member.states)
    return parameters, x, state


def mask_for(state):
    """Dropout factors, some zero."""
    drawn = torch.rand(state[0].shape, generator=torch.Generator().manual_seed(5))
    return (drawn < 0.7).to(state[0].dtype) / 0.7


def everything(member, backend, case, **options):
    """Outputs, final states and trace by name, and the gradient of a fixed projection of them."""
    parameters, x, state = case
    parameters = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    x, state = (
        x.detach().clone().requires_grad_(),
        tuple(s.detach().clone().requires_grad_() for s in state),
    )
    result = scan(member, parameters, x, state, trace=True, backend=backend, **options)
    ends = (result.outputs, *result.state)
    loss = sum((end * wave(end)).sum() for end in ends)
    leaves = {"x": x, **parameters, **dict(zip(member.states, state, strict=True))}
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    finals = {f"final {name}": v for name, v in zip(member.states, result.state, strict=True)}
    traces = {f"trace {name}": value for name, value in result.trace.items()}
    gradients = {
        f"gradient of {name}": torch.zeros_like(leaf) if value is None else value
        for (name, leaf), value in zip(leaves.items(), found, strict=True)
    }
    values = {"outputs": result.outputs, **finals, **traces, **gradients}
    return {name: value.detach() for name, value in values.items()}


def wave(like):
    """Fixed numbers in the shape of a tensor."""
    count = torch.arange(like.numel(), dtype=torch.float64)
    return count.cos().to(like.dtype).view(like.shape)


def assert_same(found, expected, joint=False):
    """Every value within the tolerance of its dtype, measured by its own largest magnitude.

    With ``joint`` by the largest of all: behind a layer norm of one unit or one feature the exact
    gradient is zero, and there is nothing but rounding to measure by.
    """
    assert list(found) == list(expected)
    largest = max(value.abs().max().item() for value in expected.values())
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.dtype, name
        assert found[name].isfinite().all() and value.isfinite().all(), f"{name} is not finite"
        scale = largest if joint else value.abs().max().item()
        error = (found[name] - value).abs().max().item()
        allowed = TOLERANCES[value.dtype] * (scale or 1.0)
        assert error <= allowed, f"{name} differs by {error:.2g} where its largest is {scale:.2g}"
