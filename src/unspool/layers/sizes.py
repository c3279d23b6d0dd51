"""How large the output of a convolution or pooling is; importable without torch."""

from __future__ import annotations

from unspool.errors import ConfigError, ShapeError

# ``same``, ``valid``, or zeros on both sides.
Padding = str | int


def output_size(
    size: int, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> int:
    """Places along one axis after a window has moved over it.

        n = ⌊(n_prev + 2p − f) / s + 1⌋;        with SAME padding  n = ⌈n_prev / s⌉

    where a dilated filter counts as f = d·(kernel − 1) + 1.

    Args:
        size: places before.
        kernel: places that a window covers, f.
        stride: places it moves on, s.
        padding: ``same``, ``valid`` (none), or zeros on both sides, p.
        dilation: distance between the places of a window, d.

    Raises:
        ShapeError: if the axis is shorter than the window.

    Example:
        >>> output_size(32, 5), output_size(75, 3, 2, "same"), output_size(6, 3, 3)
        (28, 38, 2)
    """
    if padding == "same":
        return -(-size // stride)
    zeros = 0 if padding == "valid" else int(padding)
    covered = dilation * (kernel - 1) + 1
    if size + 2 * zeros < covered:
        raise ShapeError(
            f"output_size: an axis of {size} with {zeros} zeros on both sides is shorter than a "
            f"window of {covered}; use a smaller kernel or padding 'same'."
        )
    return (size + 2 * zeros - covered) // stride + 1


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after an axis so that ⌈size / stride⌉ places come out.

    An odd zero stands at the end, as TensorFlow has it.

    Example:
        >>> same_padding(200, 3, 2), same_padding(75, 3, 2)
        ((0, 1), (1, 1))
    """
    covered = dilation * (kernel - 1) + 1
    total = max((-(-size // stride) - 1) * stride + covered - size, 0)
    return total // 2, total - total // 2


def check_window(where: str, kernel: int, stride: int, padding: Padding, dilation: int) -> None:
    """Refuse a window that cannot be.

    Raises:
        ConfigError: naming what does not fit.
    """
    for name, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if value < 1:
            raise ConfigError(f"{where}: {name} is {value}; wanted at least 1.")
    if not (padding in ("same", "valid") or (isinstance(padding, int) and padding >= 0)):
        raise ConfigError(
            f"{where}: padding is {padding!r}; wanted 'same', 'valid', or how many zeros."
        )
