"""Gated recurrent units: the reset gate before or after the product, the update gate either way."""

from typing import Literal

from unspool.engine.language import cell, sigmoid, tanh

# What an update gate of one does. The lectures, Cho et al., Keras and torch keep the old state;
# Chung et al. (2014), section 3.2, take the candidate.
Update = Literal["keep", "take"]


@cell(state="h")
def gru(x, h, W, U, b, update: Update = "keep"):
    """Gated recurrent unit, reset before the product. Cho et al. (2014), equations 5 to 8."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)  # reset gate
    z = sigmoid(W.z @ x + U.z @ h + b.z)  # update gate
    n = tanh(W.n @ x + U.n @ (r * h) + b.n)  # candidate
    h = z * h + (1 - z) * n if update == "keep" else (1 - z) * h + z * n
    return h


@cell(state="h")
def gru_reset_after(x, h, W, U, b, d, update: Update = "keep"):
    """Gated recurrent unit, reset after the product, as torch.nn.GRU and cuDNN compute it."""
    r = sigmoid(W.r @ x + U.r @ h + b.r)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + b.n + r * (U.n @ h + d.n))  # the reset gate scales a bias as well
    h = z * h + (1 - z) * n if update == "keep" else (1 - z) * h + z * n
    return h
