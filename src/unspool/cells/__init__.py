"""The equations of every cell, a family a file, and `CELLS`, the table of their names."""

from unspool.cells.elman import elman
from unspool.cells.gru import gru, gru_reset_after
from unspool.cells.lstm import lstm
from unspool.engine.language import Cell

CELLS: dict[str, Cell] = {
    "rnn": elman,
    "lstm": lstm,
    "gru": gru,
    "gru_reset_after": gru_reset_after,
}
