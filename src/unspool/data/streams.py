"""A text as streams: rows that run on from window to window, with the state carried along.

    row b of an epoch covers the targets  t = (shift + b * R + j) mod (N - 1) + 1,   j = 0…R-1
    with R = (N - 1) // B;  the input of target t is token t - 1

Every token but the first is a target once an epoch, except the (N - 1) mod B that do not fill a
row. ``shift`` is 0, or drawn anew for every epoch; then other tokens are left over each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from unspool.errors import ConfigError, DataError

# What torch's cross entropy leaves out unless told otherwise.
NO_TARGET = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A stretch of every row.

    Attributes:
        inputs: int64 ``[B T]``.
        targets: int64 ``[B T]``, the token after each input, or `NO_TARGET`.
        num_targets: how many there are.
        first: whether the state starts anew here.
    """

    inputs: Int64[Tensor, "B T"]
    targets: Int64[Tensor, "B T"]
    num_targets: int
    first: bool

    @property
    def num_rows(self) -> int:
        """B, sequences side by side."""
        return self.inputs.shape[0]

    @property
    def num_steps(self) -> int:
        """T, time steps."""
        return self.inputs.shape[1]

    def rows(self, start: int, stop: int) -> Window:
        """Rows ``start`` to ``stop``."""
        return self._part(self.inputs[start:stop], self.targets[start:stop])

    def steps(self, start: int, stop: int) -> Window:
        """Steps ``start`` to ``stop`` of every row."""
        return self._part(self.inputs[:, start:stop], self.targets[:, start:stop])

    def _part(self, inputs: Tensor, targets: Tensor) -> Window:
        counted = int((targets != NO_TARGET).sum())
        return Window(inputs=inputs, targets=targets, num_targets=counted, first=self.first)


class Streams:
    """Training windows of a text, each a pure function of (seed, epoch, index).

    Attributes:
        windows_per_epoch: how many `window` gives; the last may be shorter than ``length``.
        targets_per_epoch: tokens predicted in an epoch.
        num_left_over: tokens that are not, fewer than ``batch``.

    Example:
        >>> streams = Streams(torch.arange(10), batch=2, length=3)
        >>> streams.windows_per_epoch, streams.num_left_over
        (2, 1)
        >>> streams.window(epoch=0, index=1).inputs, streams.window(epoch=0, index=1).targets
        (tensor([[3],
                [7]]), tensor([[4],
                [8]]))
    """

    def __init__(
        self, tokens: Int64[Tensor, " N"], batch: int, length: int, shift_seed: int | None = None
    ) -> None:
        """Lay the tokens into rows; nothing is copied.

        Args:
            tokens: the text, in order.
            batch: B, rows, >= 1.
            length: T, steps of a window, >= 1.
            shift_seed: None: rows start at the same places in every epoch; a number: at places
                drawn from it and the epoch.

        Raises:
            ConfigError: if ``batch`` or ``length`` is below 1.
            DataError: if the text does not fill one window of every row.
        """
        _check_sizes(batch, length)
        wanted = batch * length + 1
        if len(tokens) < wanted:
            raise DataError(
                f"text: {len(tokens)} tokens to train on; {batch} rows of {length} steps want at "
                f"least {wanted}: give more text, or lower train.length or train.batch."
            )
        self.tokens = tokens
        self.batch = batch
        self.length = length
        self.shift_seed = shift_seed
        self._row = (len(tokens) - 1) // batch
        self.windows_per_epoch = -(-self._row // length)
        self.targets_per_epoch = self._row * batch
        self.num_left_over = len(tokens) - 1 - self.targets_per_epoch

    def window(self, epoch: int, index: int) -> Window:
        """Window ``index`` of ``epoch``.

        Args:
            epoch: 0…
            index: 0…``windows_per_epoch`` - 1.

        Raises:
            IndexError: if there is no such window.
        """
        if epoch < 0 or not 0 <= index < self.windows_per_epoch:
            raise IndexError(
                f"Streams: no window {index} in epoch {epoch}; "
                f"an epoch has {self.windows_per_epoch}."
            )
        start = index * self.length
        steps = torch.arange(start, min(start + self.length, self._row))
        rows = torch.arange(self.batch) * self._row
        places = (self.shift(epoch) + rows[:, None] + steps) % (len(self.tokens) - 1)  # [B T]
        return Window(
            inputs=self.tokens[places],
            targets=self.tokens[places + 1],
            num_targets=places.numel(),
            first=index == 0,
        )

    def shift(self, epoch: int) -> int:
        """Where the first row of an epoch starts: 0, or a place drawn from (seed, epoch)."""
        if self.shift_seed is None:
            return 0
        drawn = hashlib.sha256(f"{self.shift_seed} {epoch}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") % (len(self.tokens) - 1)


def evaluation_windows(tokens: Int64[Tensor, " N"], length: int, rows: int = 1) -> Iterator[Window]:
    """Windows in which every token after the first is a target exactly once, in order.

    With one row the text is one stream, each token predicted from all before it. More rows are
    faster; each starts without a past, and the last step of the shorter ones has no target.

    Args:
        tokens: the text, in order.
        length: T, steps of a window, >= 1; the loss does not depend on it.
        rows: B, >= 1; at most one for every target is used.

    Raises:
        ConfigError: if ``length`` or ``rows`` is below 1.
        DataError: if there are fewer than two tokens.

    Example:
        >>> [window.targets.tolist() for window in evaluation_windows(torch.arange(6), 2, rows=2)]
        [[[1, 2], [4, 5]], [[3], [-100]]]
    """
    _check_sizes(rows, length)
    if len(tokens) < 2:
        raise DataError(f"text: {len(tokens)} tokens to judge; wanted at least 2.")
    return _evaluation_windows(tokens, length, rows)


def _evaluation_windows(tokens: Tensor, length: int, rows: int) -> Iterator[Window]:
    # The first rows are one longer where the text does not divide evenly.
    parts = [part for part in torch.arange(len(tokens) - 1).tensor_split(rows) if len(part)]
    places = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1)  # [B R]
    places = places.to(tokens.device)
    for start in range(0, places.shape[1], length):
        here = places[:, start : start + length]
        counted = here >= 0
        yield Window(
            inputs=tokens[here.clamp(min=0)],
            targets=torch.where(counted, tokens[here + 1], NO_TARGET),
            num_targets=int(counted.sum()),
            first=start == 0,
        )


def _check_sizes(batch: int, length: int) -> None:
    if batch < 1 or length < 1:
        raise ConfigError(f"streams: {batch} rows of {length} steps; wanted 1 or more of each.")
