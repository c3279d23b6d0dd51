"""A language model as something that decodes: an input is the beginning of a text."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from unspool.layers.state import State
from unspool.models.language_model import LanguageModel
from unspool.models.text_decoder import Memory


class Prompted:
    """Goes on from prompts until a token that ends a text; recurrent or a transformer.

    So beams, drawing and bounds of `unspool.models.decoding.decode` serve language models too.

    Args:
        model: in evaluation mode.
        end: the token that ends a text, such as that of a new line; it has to be one of the
            model's own.

    Example:
        >>> from unspool.cells import CELLS
        >>> from unspool.models.decoding import decode
        >>> from unspool.models.decoding_settings import DecodingSettings
        >>> from unspool.models.settings import RecurrentSettings
        >>> model = LanguageModel(7, RecurrentSettings(hidden=4), CELLS["gru"]).eval()
        >>> own = Prompted(model, end=0)
        >>> memory = own.read(torch.tensor([[1, 2, 3], [4, 5, 6]]))
        >>> answers = decode(own, memory, DecodingSettings(beam=3), max_length=5)
        >>> len(answers), all(0 not in each[0].tokens for each in answers)
        (2, True)
    """

    def __init__(self, model: LanguageModel, end: int) -> None:
        self.model, self.end = model, end
        self.begin = model.head.out_features  # no token of the model: a prompt stands before

    def read(self, prompts: Int64[Tensor, "B T"]) -> Memory:
        """Prompts of one length, as `decode` wants them.

        The scores of what follows a prompt are its state's last tensor, ``[B V]``.
        """
        with torch.no_grad():
            logits, state = self.model(prompts)
        return Memory(State(), None, State([*state, logits[:, -1]]))

    def step(
        self, tokens: Int64[Tensor, " R"], state: State, memory: Memory, weights: bool = False
    ) -> tuple[Float[Tensor, "R V"], State, None]:
        """Scores of what follows; see `unspool.models.answers.Decoder`."""
        *own, logits = state
        if int(tokens[0]) != self.begin:
            logits, found = self.model.step(tokens, State(own))
            own = list(found)
        # One column more, for the beginning, which is never written.
        return F.pad(logits, (0, 1), value=-torch.inf), State([*own, logits]), None
