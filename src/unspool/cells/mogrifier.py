"""The Mogrifier: input and state gate each other before the LSTM sees them."""

from unspool.engine.language import cell, sigmoid, tanh


@cell(state="h c")
def mogrifier_lstm(x, h, c, Q, R, W, U, b):
    """Mogrifier LSTM of five rounds. Melis, Kočiský and Blunsom (2020), equations 1 and 2."""
    x1 = 2 * sigmoid(Q.x1 @ h) * x
    h2 = 2 * sigmoid(R.h2 @ x1) * h
    x3 = 2 * sigmoid(Q.x3 @ h2) * x1
    h4 = 2 * sigmoid(R.h4 @ x3) * h2
    x5 = 2 * sigmoid(Q.x5 @ h4) * x3
    i = sigmoid(W.i @ x5 + U.i @ h4 + b.i)
    f = sigmoid(W.f @ x5 + U.f @ h4 + b.f)
    g = tanh(W.g @ x5 + U.g @ h4 + b.g)
    o = sigmoid(W.o @ x5 + U.o @ h4 + b.o)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c
