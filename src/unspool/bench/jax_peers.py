"""The custom cells in JAX: the input product once, then `lax.scan`, all under one `jit`.

JAX is needed by the benchmark only; it is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def jax_missing() -> str | None:
    """Why JAX cannot be asked, or None."""
    try:
        import jax  # noqa: F401
    except ImportError as error:
        return f'jax: {error}; `pip install "unspool[bench]"`'
    return None


def of_jax(
    name: str, x: Tensor, weights: Mapping[str, Tensor], cotangent: Tensor
) -> tuple[Callable[[], Any], Callable[[], dict[str, Tensor]]]:
    """A cell's outputs and gradients, compiled at the first call.

    Args:
        name: a key of `SCANS`.
        x: ``[B T D]``.
        weights: ours, stacked by family.
        cotangent: ``[B T H]``, the gradient for the outputs.

    Returns:
        What to call, which waits for its result; and the same with the result in torch's tensors,
        by name.
    """
    import jax
    import jax.numpy as jnp

    scan = SCANS[name]

    def run(x: Any, weights: Any, cotangent: Any) -> Any:
        outputs, back = jax.vjp(scan, x, weights)
        return outputs, back(cotangent)

    compiled = jax.jit(run)
    inputs = (
        jnp.asarray(x.detach().numpy()),
        {key: jnp.asarray(value.detach().numpy()) for key, value in weights.items()},
        jnp.asarray(cotangent.numpy()),
    )

    def call() -> Any:
        return jax.block_until_ready(compiled(*inputs))

    def computed() -> dict[str, Tensor]:
        outputs, (x_gradient, gradients) = call()
        found = {"outputs": outputs, "x": x_gradient, **gradients}
        return {key: torch.tensor(jax.device_get(value)) for key, value in found.items()}

    return call, computed


def gru(x: Any, weights: Mapping[str, Any]) -> Any:
    """The lectures' GRU, ``[B T D]`` to ``[B T H]``."""
    import jax.numpy as jnp
    from jax import lax, nn

    H = weights["U"].shape[1]
    gates, candidate = weights["U"][: 2 * H].T, weights["U"][2 * H :].T
    sums = jnp.swapaxes(x, 0, 1) @ weights["W"].T + weights["b"]

    def step(h: Any, x_sum: Any) -> Any:
        rz = nn.sigmoid(x_sum[:, : 2 * H] + h @ gates)
        r, z = rz[:, :H], rz[:, H:]
        n = jnp.tanh(x_sum[:, 2 * H :] + (r * h) @ candidate)
        h = z * h + (1 - z) * n
        return h, h

    return jnp.swapaxes(lax.scan(step, jnp.zeros((x.shape[0], H), x.dtype), sums)[1], 0, 1)


def peephole_lstm(x: Any, weights: Mapping[str, Any]) -> Any:
    """The LSTM whose gates see the cell state."""
    import jax.numpy as jnp
    from jax import nn

    H = weights["U"].shape[1]
    recurrent = weights["U"].T
    v_i, v_f, v_o = jnp.split(weights["V"], 3)
    sums = jnp.swapaxes(x, 0, 1) @ weights["W"].T + weights["b"]

    def step(state: Any, x_sum: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x_sum + h @ recurrent, 4, -1)
        c = nn.sigmoid(f + v_f * c) * c + nn.sigmoid(i + v_i * c) * jnp.tanh(g)
        h = nn.sigmoid(o + v_o * c) * jnp.tanh(c)
        return (h, c), h

    return _lstm_scan(step, x, H, sums)


def layer_norm_lstm(x: Any, weights: Mapping[str, Any]) -> Any:
    """The layer-norm LSTM."""
    import jax.numpy as jnp
    from jax import nn

    B, T, _ = x.shape
    H = weights["U"].shape[1]
    recurrent = weights["U"].T
    gain, shift = weights["alpha"].reshape(9, H), weights["beta"].reshape(9, H)

    def normalised(z: Any) -> Any:
        centred = z - z.mean(-1, keepdims=True)
        return centred / jnp.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)

    sums = (jnp.swapaxes(x, 0, 1) @ weights["W"].T).reshape(T, B, 4, H)
    sums = normalised(sums) * gain[0:8:2] + shift[0:8:2]

    def step(state: Any, x_sum: Any) -> Any:
        h, c = state
        all_sums = x_sum + normalised((h @ recurrent).reshape(B, 4, H)) * gain[1:8:2] + shift[1:8:2]
        i, f, g, o = (all_sums[:, k] for k in range(4))
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(normalised(c) * gain[8] + shift[8])
        return (h, c), h

    return _lstm_scan(step, x, H, sums)


def multiplicative_lstm(x: Any, weights: Mapping[str, Any]) -> Any:
    """The multiplicative LSTM."""
    import jax.numpy as jnp
    from jax import nn

    H = weights["U"].shape[1]
    to_m, to_gates = weights["U"].T, weights["V"].T
    products = jnp.swapaxes(x, 0, 1) @ weights["W"].T  # [T B 5H]
    sums = products.at[..., H:].add(weights["b"])

    def step(state: Any, x_sum: Any) -> Any:
        h, c = state
        m = x_sum[:, :H] * (h @ to_m)
        i, f, g, o = jnp.split(x_sum[:, H:] + m @ to_gates, 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return _lstm_scan(step, x, H, sums)


def _lstm_scan(step: Callable[[Any, Any], Any], x: Any, units: int, sums: Any) -> Any:
    import jax.numpy as jnp
    from jax import lax

    start = jnp.zeros((x.shape[0], units), x.dtype)
    return jnp.swapaxes(lax.scan(step, (start, start), sums)[1], 0, 1)


SCANS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "layer_norm_lstm": layer_norm_lstm,
    "peephole_lstm": peephole_lstm,
    "gru": gru,
    "multiplicative_lstm": multiplicative_lstm,
}
