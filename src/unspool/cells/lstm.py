"""Long short-term memory."""

from unspool.engine.language import cell, sigmoid, tanh


@cell(state="h c")
def lstm(x, h, c, W, U, b):
    """Long short-term memory. Hochreiter and Schmidhuber (1997); forget gate: Gers et al. (2000)."""
    i = sigmoid(W.i @ x + U.i @ h + b.i)          # input (store) gate
    f = sigmoid(W.f @ x + U.f @ h + b.f)          # forget gate
    g = tanh(W.g @ x + U.g @ h + b.g)             # candidate
    o = sigmoid(W.o @ x + U.o @ h + b.o)          # output (exposure) gate
    c = f * c + i * g
    h = o * tanh(c)
    return h, c
