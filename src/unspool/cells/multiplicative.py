"""Cells in which the input chooses the recurrent matrix."""

from unspool.engine.language import bilinear, cell, sigmoid, tanh


@cell(state="h c")
def multiplicative_lstm(x, h, c, W, U, V, b):
    """Multiplicative LSTM. Krause et al. (2016), equations 10 to 14."""
    m = (W.m @ x) * (U.m @ h)
    i = sigmoid(W.i @ x + V.i @ m + b.i)
    f = sigmoid(W.f @ x + V.f @ m + b.f)
    g = tanh(W.g @ x + V.g @ m + b.g)
    o = sigmoid(W.o @ x + V.o @ m + b.o)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(state="h")
def multiplicative_rnn(x, h, T, W, b):
    """The multiplicative module: w_ij = Σ_k u_ijk z_k with z the state, s_i = Σ_j w_ij x_j."""
    s = bilinear(T.s, x, h)
    h = tanh(s + W.h @ x + b.h)
    return h
