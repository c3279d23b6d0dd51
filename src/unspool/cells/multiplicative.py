"""Cells in which the input chooses the recurrent matrix."""

from unspool.engine.language import bilinear, cell, sigmoid, tanh


@cell(state="h c")
def multiplicative_lstm(x, h, c, W, U, V, b):
    """Multiplicative LSTM, whose recurrent matrix depends on the input. Krause et al. (2016)."""
    m = (W.m @ x) * (U.m @ h)  # takes the place of h below
    i = sigmoid(W.i @ x + V.i @ m + b.i)
    f = sigmoid(W.f @ x + V.f @ m + b.f)
    g = tanh(W.g @ x + V.g @ m + b.g)
    o = sigmoid(W.o @ x + V.o @ m + b.o)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(state="h")
def multiplicative_rnn(x, h, U, W, b):
    """RNN with the lectures' multiplicative module, w_ij = Σ_k u_ijk h_k and s_i = Σ_j w_ij x_j."""
    s = bilinear(U.s, x, h)
    h = tanh(s + W.h @ x + b.h)
    return h
