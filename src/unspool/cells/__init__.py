"""The equations of every cell, a family a file, and `CELLS`, the table of their names."""

from unspool.cells.diagonal import indrnn, linear, mingru
from unspool.cells.elman import elman
from unspool.cells.gru import gru, gru_reset_after
from unspool.cells.layer_norm import layer_norm_lstm
from unspool.cells.lstm import coupled_lstm, lstm, peephole_lstm
from unspool.cells.minimal import mgu
from unspool.cells.mogrifier import mogrifier_lstm
from unspool.cells.multiplicative import multiplicative_lstm, multiplicative_rnn
from unspool.cells.slstm import slstm
from unspool.engine.language import Cell

CELLS: dict[str, Cell] = {
    "rnn": elman,
    "rnn_relu": elman.with_options(activation="relu"),
    "lstm": lstm,
    "peephole_lstm": peephole_lstm,
    "coupled_lstm": coupled_lstm,
    "layer_norm_lstm": layer_norm_lstm,
    "multiplicative_lstm": multiplicative_lstm,
    "mogrifier_lstm": mogrifier_lstm,
    "slstm": slstm,
    "gru": gru,
    "gru_take": gru.with_options(update="take"),
    "gru_reset_after": gru_reset_after,
    "gru_reset_after_take": gru_reset_after.with_options(update="take"),
    "mgu": mgu,
    "mingru": mingru,
    "linear": linear,
    "indrnn": indrnn,
    "multiplicative_rnn": multiplicative_rnn,
}
