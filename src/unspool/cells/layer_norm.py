"""Cells that normalise their sums."""

from unspool.engine.language import cell, layer_norm, sigmoid, tanh


@cell(state="h c")
def layer_norm_lstm(x, h, c, W, U, p, b, q, d):
    """LSTM with layer normalisation. Ba, Kiros and Hinton (2016), equations 20 to 22, gate by gate."""
    i = sigmoid(layer_norm(W.i @ x, p.i, b.i) + layer_norm(U.i @ h, q.hi, d.hi))
    f = sigmoid(layer_norm(W.f @ x, p.f, b.f) + layer_norm(U.f @ h, q.hf, d.hf))
    g = tanh(layer_norm(W.g @ x, p.g, b.g) + layer_norm(U.g @ h, q.hg, d.hg))
    o = sigmoid(layer_norm(W.o @ x, p.o, b.o) + layer_norm(U.o @ h, q.ho, d.ho))
    c = f * c + i * g
    h = o * tanh(layer_norm(c, q.c, d.c))
    return h, c
