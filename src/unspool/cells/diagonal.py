"""Recurrences in which every unit returns only to itself."""

from unspool.engine.language import Function, cell, relu, sigmoid


@cell(state="h")
def linear(x, h, W, b):
    """Linear recurrence, the lectures' a_t = b_t + c_t a_{t-1}, with b_t and c_t made from x_t."""
    f = sigmoid(W.f @ x + b.f)  # the factor c_t: 1 keeps
    g = W.g @ x + b.g  # the term b_t
    h = f * h + g
    return h


@cell(state="h")
def mingru(x, h, W, b):
    """Minimal GRU whose gates see only the input. Feng et al. (2024), section 3.1."""
    z = sigmoid(W.z @ x + b.z)  # update gate: 1 takes the candidate
    n = W.n @ x + b.n
    h = (1 - z) * h + z * n
    return h


@cell(state="h")
def indrnn(x, h, W, u, b, activation: Function = relu):
    """Independently recurrent network, h_t = relu(W x_t + u * h_{t-1} + b). Li et al. (2018)."""
    h = activation(W.h @ x + u.h * h + b.h)
    return h
