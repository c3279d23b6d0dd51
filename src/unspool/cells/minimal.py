"""The minimal gated unit: one gate for both jobs of a GRU."""

from unspool.engine.language import cell, sigmoid, tanh


@cell(state="h")
def mgu(x, h, W, U, b):
    """Minimal gated unit, a GRU whose two gates are one. Zhou et al. (2016)."""
    f = sigmoid(W.f @ x + U.f @ h + b.f)  # resets, and takes the candidate
    n = tanh(W.n @ x + U.n @ (f * h) + b.n)
    h = (1 - f) * h + f * n
    return h
