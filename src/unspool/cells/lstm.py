"""Long short-term memory and its nearest relatives."""

from unspool.engine.language import cell, sigmoid, tanh


@cell(state="h c")
def lstm(x, h, c, W, U, b):
    """Long short-term memory. Hochreiter and Schmidhuber (1997), Gers et al. (2000)."""
    i = sigmoid(W.i @ x + U.i @ h + b.i)  # input (store) gate
    f = sigmoid(W.f @ x + U.f @ h + b.f)  # forget gate (Gers et al.)
    g = tanh(W.g @ x + U.g @ h + b.g)  # candidate
    o = sigmoid(W.o @ x + U.o @ h + b.o)  # output (exposure) gate
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(state="h c")
def peephole_lstm(x, h, c, W, U, V, b):
    """LSTM whose gates see the cell state. Gers, Schraudolph and Schmidhuber (2002)."""
    i = sigmoid(W.i @ x + U.i @ h + V.i * c + b.i)
    f = sigmoid(W.f @ x + U.f @ h + V.f * c + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    c = f * c + i * g
    o = sigmoid(W.o @ x + U.o @ h + V.o * c + b.o)  # sees the new cell state
    h = o * tanh(c)
    return h, c


@cell(state="h c")
def coupled_lstm(x, h, c, W, U, b):
    """LSTM that stores what it forgets, i = 1 - f. Greff et al. (2017), variant CIFG."""
    f = sigmoid(W.f @ x + U.f @ h + b.f)
    g = tanh(W.g @ x + U.g @ h + b.g)
    o = sigmoid(W.o @ x + U.o @ h + b.o)
    c = f * c + (1 - f) * g
    h = o * tanh(c)
    return h, c
