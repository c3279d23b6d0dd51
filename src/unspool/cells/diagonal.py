"""Recurrences in which every unit returns only to itself."""

from unspool.engine.language import cell, relu, sigmoid


@cell(state="h")
def linear(x, h, W, b):
    """Linear recurrence a_t = b_t + c_t a_{t-1} with the factor c_t drawn from the input."""
    f = sigmoid(W.f @ x + b.f)
    g = W.g @ x + b.g
    h = f * h + g
    return h


@cell(state="h")
def indrnn(x, h, W, u, b, activation=relu):
    """Independently recurrent network. Li et al. (2018), equation 2."""
    h = activation(W.h @ x + u.h * h + b.h)
    return h
