"""sLSTM, the scalar-memory cell of xLSTM: exponential gates held in range by a stabiliser."""

from unspool.engine.language import (
    block_diagonal,
    cell,
    exp,
    log,
    maximum,
    sigmoid,
    tanh,
    where,
)


def log_sigmoid(z):
    """The logarithm of σ(z), -ln(1 + e^-z), without overflow for any z."""
    # `maximum` and not `relu`: the two kinks at 0 then cancel, and the slope there is right, 1/2.
    return -maximum(-z, 0) - log(1 + exp(-maximum(z, -z)))


@cell(state="h c n m")
def slstm(x, h, c, n, m, W, R, b, heads: int = 1):
    """Scalar LSTM (sLSTM), memory mixed within heads. Beck et al. (2024), equations 8 to 17."""
    log_i = W.i @ x + block_diagonal(R.i, heads) @ h + b.i
    a = W.f @ x + block_diagonal(R.f, heads) @ h + b.f
    log_f = log_sigmoid(a)
    g = tanh(W.g @ x + block_diagonal(R.g, heads) @ h + b.g)
    o = sigmoid(W.o @ x + block_diagonal(R.o, heads) @ h + b.o)
    log_p = where(n > 0, log_f + m, log_i)  # the past; before the first step there is none to scale
    m = maximum(log_p, log_i)  # stabiliser: the larger of the two becomes e^0
    i = exp(log_i - m)
    f = exp(log_p - m)
    c = f * c + i * g
    n = f * n + i  # normaliser
    h = o * c / n
    return h, c, n, m
