"""Gated recurrent units: the reset gate before or after the product, the update gate either way."""

from unspool.engine.language import cell, sigmoid, tanh
from unspool.errors import choose

# What an update gate of one does: the lectures, Keras and torch keep; Chung et al. (2014) take.
UPDATES = {
    "keep": lambda z, h, n: z * h + (1 - z) * n,
    "take": lambda z, h, n: (1 - z) * h + z * n,
}


@cell(state="h")
def gru(x, h, W, U, b, update="keep"):
    """Gated recurrent unit, reset before the product. Cho et al. (2014), equations 5 to 8."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)  # reset gate
    z = sigmoid(W.z @ x + U.z @ h + b.z)  # update gate
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)  # candidate
    h = choose(update, UPDATES, "model.options.update")(z, h, n)
    return h


@cell(state="h")
def gru_reset_after(x, h, W, U, b, d, update="keep"):
    """Gated recurrent unit, reset after the product: what torch and cuDNN compute."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + b.n + r * (U.n @ h + d.n))
    h = choose(update, UPDATES, "model.options.update")(z, h, n)
    return h
