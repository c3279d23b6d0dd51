"""sLSTM: exponential gates with a stabiliser."""

from unspool.engine.language import block_diagonal, cell, exp, log, maximum, relu, sigmoid, tanh
from unspool.engine.language import where


def log_sigmoid(z):
    """ln σ(z) = -ln(1 + e^-z), without overflow for any z."""
    return -(relu(-z) + log(1 + exp(-maximum(z, -z))))


@cell(state="h c n m")
def slstm(x, h, c, n, m, W, R, b, heads=1):
    """sLSTM with memory mixing within heads. Beck et al. (2024), equations 8 to 17."""
    i = W.i @ x + block_diagonal(R.i, heads) @ h + b.i  # logarithm of the input gate
    f = log_sigmoid(W.f @ x + block_diagonal(R.f, heads) @ h + b.f)  # and of the forget gate
    g = tanh(W.g @ x + block_diagonal(R.g, heads) @ h + b.g)
    o = sigmoid(W.o @ x + block_diagonal(R.o, heads) @ h + b.o)
    scale = where(n > 0, maximum(f + m, i), i)  # while nothing is stored, the input's own
    c = exp(f + m - scale) * c + exp(i - scale) * g
    n = exp(f + m - scale) * n + exp(i - scale)
    h = o * c / n
    return h, c, n, scale
