"""Peers in translating: the model as one writes it in PyTorch, and JoeyNMT's, with our weights.

JoeyNMT is needed by the benchmark only, and imported inside the functions.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unspool.models.encoder_decoder import EncoderDecoder


class PlainTranslator(nn.Module):
    """The same model as one would write it in PyTorch.

    Args:
        model: whose weights it takes.
    """

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        own = model.decoder
        self.begin, self.end, self.feeds = own.begin, own.end, own.attends == "feeding"
        self.source = nn.Embedding.from_pretrained(model.embedding.weight.detach())
        self.target = nn.Embedding.from_pretrained(own.weight.detach())
        self.encoder = model.encoder.to_torch()
        layer = own.recurrent.to_torch()
        self.cell = nn.LSTMCell(layer.input_size, layer.hidden_size)
        self.cell.load_state_dict(
            {name.removesuffix("_l0"): value for name, value in layer.state_dict().items()}
        )
        self.bridge, self.key = own.bridge.learnt[0], own.attention.key
        self.combine, self.head = own.combine, own.head

    def read(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Memory, its keys, where it ends, and the first state."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.source(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        outputs, (h, c) = self.encoder(packed)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        summary = torch.cat([h[0], c[0], h[1], c[1]], 1)
        h, c = self.bridge(summary).tanh().chunk(2, 1)
        padding = torch.arange(outputs.shape[1]) >= lengths[:, None]
        return outputs, self.key(outputs), padding, h, c

    def step(
        self, token: Tensor, h: Tensor, c: Tensor, fed: Tensor, memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log probabilities of the next token, and the states."""
        outputs, keys, padding = memory
        x = self.target(token)
        h, c = self.cell(torch.cat([x, fed], 1) if self.feeds else x, (h, c))
        scores = torch.bmm(keys, h[:, :, None])[:, :, 0].masked_fill(padding, -torch.inf)
        context = torch.bmm(scores.softmax(1)[:, None], outputs)[:, 0]
        z = self.combine(torch.cat([h, context], 1)).tanh()
        return F.log_softmax(self.head(z), 1), h, c, z

    @torch.no_grad()
    def translate(
        self, tokens: Tensor, lengths: Tensor, most: list[int], beam: int
    ) -> list[tuple[int, ...]]:
        """The best answer to each sentence, by mean log probability."""
        B = len(tokens)
        *memory, h, c = self.read(tokens, lengths)
        tiled = torch.arange(B).repeat_interleave(beam)
        memory = [value[tiled] for value in memory]
        h, c = h[tiled], c[tiled]
        fed = torch.zeros_like(h)
        total = torch.full((B, beam), -torch.inf)
        total[:, 0] = 0.0
        written = torch.full((B * beam, 1), self.begin)
        rows, longest = torch.arange(B), torch.tensor(most)
        found: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(B)]
        while len(rows):
            step = written.shape[1] - 1
            chances, h, c, fed = self.step(written[:, -1], h, c, fed, tuple(memory))
            chances[:, self.begin] = -torch.inf
            full = (longest[rows] == step).repeat_interleave(beam)
            if full.any():
                ending = chances[full, self.end]
                chances[full] = -torch.inf
                chances[full, self.end] = ending
            V = chances.shape[1]
            best, index = (total.view(-1, 1) + chances).view(len(rows), -1).topk(2 * beam)
            parent, token = index // V, index % V
            ended = (token == self.end) & best.isfinite()
            for place, rank in ended[:, :beam].nonzero().tolist():
                answers = found[int(rows[place])]
                if len(answers) < beam:
                    text = written[place * beam + int(parent[place, rank]), 1:].tolist()
                    answers.append((float(best[place, rank]) / (step + 1), tuple(text)))
            total, chosen = best.masked_fill(token == self.end, -torch.inf).topk(beam)
            parent, token = parent.gather(1, chosen), token.gather(1, chosen)
            order = (torch.arange(len(rows))[:, None] * beam + parent).flatten()
            written = torch.cat([written[order], token.view(-1, 1)], 1)
            h, c, fed = h[order], c[order], fed[order]
            left = torch.tensor(
                [len(found[row]) < beam and most[row] > step for row in rows.tolist()]
            )
            if not left.all():
                rows, total, each = rows[left], total[left], left.repeat_interleave(beam)
                written, h, c, fed = written[each], h[each], c[each], fed[each]
                memory = [value[each] for value in memory]
        return [max(answers, key=lambda one: one[0])[1] for answers in found]


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
