"""JoeyNMT as a peer in translating: its encoder, decoder and beam search, with our weights.

JoeyNMT is needed by the benchmark only, and imported inside the functions.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from unspool.bench.translation import PlainTranslator


def joeynmt_missing() -> str | None:
    """Why JoeyNMT cannot be asked, or None."""
    try:
        import joeynmt.search  # noqa: F401
    except ImportError as error:
        return f"JoeyNMT: {error}; `pip install joeynmt`"
    return None


class JoeyTranslator:
    """A recurrent model of JoeyNMT with the weights of a plain one.

    Its bridge would start both states of an LSTM from one projection; it is given ours, so that
    both compute the same.

    Args:
        plain: whose weights it takes.
    """

    def __init__(self, plain: PlainTranslator) -> None:
        from joeynmt.decoders import RecurrentDecoder
        from joeynmt.embeddings import Embeddings
        from joeynmt.encoders import RecurrentEncoder
        from joeynmt.model import Model

        self.bridge = plain.bridge
        (V, E), H = plain.source.weight.shape, plain.cell.hidden_size
        encoder = RecurrentEncoder(rnn_type="lstm", hidden_size=H, emb_size=E)
        decoder = RecurrentDecoder(
            rnn_type="lstm", emb_size=plain.target.weight.shape[1], hidden_size=H,
            encoder=encoder, attention="luong", vocab_size=V, init_hidden="last",
            input_feeding=plain.feeds,
        )  # fmt: skip
        encoder.rnn.load_state_dict(plain.encoder.state_dict())
        cell = {f"{name}_l0": value for name, value in plain.cell.state_dict().items()}
        decoder.rnn.load_state_dict(cell)
        decoder.attention.key_layer, decoder.att_vector_layer = plain.key, plain.combine
        decoder.output_layer = plain.head
        tables = [Embeddings(side.weight.shape[1], vocab_size=V, padding_idx=None)
                  for side in (plain.source, plain.target)]  # fmt: skip
        tables[0].lut, tables[1].lut = plain.source, plain.target
        # Its search forbids what pads, and cannot do without: a token that there is not.
        vocabulary = SimpleNamespace(
            pad_index=V, bos_index=plain.begin, eos_index=plain.end, sep_index=None,
            unk_index=0, specials=[], lang_tags=[],
        )  # fmt: skip
        self.model = Model(encoder, decoder, *tables, vocabulary, vocabulary).eval()

    @torch.no_grad()
    def translate(self, tokens: Tensor, longest: int, beam: int) -> list[set[tuple[int, ...]]]:
        """All answers of the beam to sentences of equal lengths, cut at the longest.

        Args:
            tokens: ``[B T]``.
            longest: tokens of every answer.
            beam: beginnings that are followed.
        """
        from joeynmt.search import beam_search

        B, T = tokens.shape
        packed = nn.utils.rnn.pack_padded_sequence(
            self.model.src_embed(tokens), torch.full((B,), T), batch_first=True
        )
        outputs, (h, c) = self.model.encoder.rnn(packed)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        h, c = self.bridge(torch.cat([h[0], c[0], h[1], c[1]], 1)).tanh().chunk(2, 1)
        self.model.decoder._init_hidden = lambda _: (h[None], c[None])
        found, *_ = beam_search(
            model=self.model, beam_size=beam, encoder_output=outputs, encoder_hidden=h,
            src_mask=torch.ones(B, 1, T, dtype=torch.bool), max_output_length=longest,
            alpha=-1.0, n_best=beam,
        )  # fmt: skip
        rows = torch.as_tensor(found).view(B, beam, -1)[..., :longest].tolist()
        return [{tuple(answer) for answer in answers} for answers in rows]
