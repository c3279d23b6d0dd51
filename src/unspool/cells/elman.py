"""The vanilla recurrent network."""

from unspool.engine.language import Function, cell, tanh


@cell(state="h")
def elman(x, h, W, U, b, activation: Function = tanh):
    """Vanilla recurrent network, h_t = tanh(W x_t + U h_{t-1} + b). Elman (1990)."""
    h = activation(W.h @ x + U.h @ h + b.h)
    return h
