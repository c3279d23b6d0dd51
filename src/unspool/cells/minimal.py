"""Cells with as few gates as will do."""

from unspool.engine.language import cell, sigmoid, tanh


@cell(state="h")
def mgu(x, h, W, U, b):
    """Minimal gated unit, one gate for both jobs. Zhou et al. (2016), section 3."""
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h = (1 - f) * h + f * n
    return h


@cell(state="h")
def mingru(x, h, W, b):
    """Minimal GRU whose gates see only the input. Feng et al. (2024), section 3.1."""
    z = sigmoid(W.z @ x + b.z)
    n = W.n @ x + b.n
    h = (1 - z) * h + z * n
    return h
