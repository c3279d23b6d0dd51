"""Gated recurrent units: the reset gate before or after the product."""

from unspool.engine.language import cell, sigmoid, tanh


@cell(state="h")
def gru(x, h, W, U, b):
    """Gated recurrent unit, reset before the product. Cho et al. (2014), equations 5 to 8."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)          # reset gate
    z = sigmoid(W.z @ x + U.z @ h + b.z)          # update gate: 1 keeps the old state
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)       # candidate
    h = z * h + (1 - z) * n
    return h


@cell(state="h")
def gru_reset_after(x, h, W, U, b, d):
    """Gated recurrent unit, reset after the product: what torch and cuDNN compute."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + b.n + r * (U.n @ h + d.n))
    h = z * h + (1 - z) * n
    return h
