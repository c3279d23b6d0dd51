"""Cells that normalise their sums."""

from unspool.engine.language import cell, layer_norm, sigmoid, tanh


@cell(state="h c")
def layer_norm_lstm(x, h, c, W, U, alpha, beta):
    """LSTM with layer normalisation. Ba, Kiros and Hinton (2016), equations 20 to 22, by gate."""
    i = sigmoid(layer_norm(W.i @ x, alpha.i, beta.i) + layer_norm(U.i @ h, alpha.ih, beta.ih))
    f = sigmoid(layer_norm(W.f @ x, alpha.f, beta.f) + layer_norm(U.f @ h, alpha.fh, beta.fh))
    g = tanh(layer_norm(W.g @ x, alpha.g, beta.g) + layer_norm(U.g @ h, alpha.gh, beta.gh))
    o = sigmoid(layer_norm(W.o @ x, alpha.o, beta.o) + layer_norm(U.o @ h, alpha.oh, beta.oh))
    c = f * c + i * g
    h = o * tanh(layer_norm(c, alpha.c, beta.c))
    return h, c
