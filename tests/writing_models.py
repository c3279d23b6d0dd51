"""Small encoder-decoders for tests, every weight drawn."""

import torch

from unspool.cells import CELLS
from unspool.cells.find import find_cell
from unspool.layers.recurrent import Recurrent
from unspool.models.encoder_decoder import build_encoder_decoder
from unspool.models.settings import RecurrentSettings

SOURCE, TARGET = 9, 7
TOKENS = {"kind": "tokens", "size": SOURCE}
IMAGE = {"kind": "image", "channels": 2, "height": 12, "width": 16}
BEGIN, END = TARGET - 2, TARGET - 1


def make(
    rng,
    cell="gru",
    source=TOKENS,
    shared=False,
    dtype=torch.float64,
    backend="reference",
    **settings,
):
    """In evaluation mode, with weights large enough for every part to matter."""
    target = {"size": SOURCE if shared else TARGET, "begin": BEGIN, "end": END}
    shape = {"source": source, "target": target, "shared": shared}
    chosen = {"hidden": 4, "dropout": 0.0, "image_layers": 2, "image_maps": 3, **settings}
    model = build_encoder_decoder(shape, RecurrentSettings(**chosen), find_cell(cell), rng)
    model = model.to(dtype).eval()
    for layer in model.modules():
        if isinstance(layer, Recurrent):
            layer.named_backend = backend
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=rng, dtype=dtype))
    return model


def texts(rng, rows=3, steps=5, size=SOURCE):
    """Tokens, and lengths of which the first row has all."""
    tokens = torch.randint(size, (rows, steps), generator=rng)
    lengths = torch.tensor([steps, *[max(1, steps - 2 - row) for row in range(rows - 1)]])
    return {"tokens": tokens}, lengths


def given(rng, rows=3, steps=4):
    """Tokens that a decoder is fed, the beginning first."""
    tokens = torch.randint(BEGIN, (rows, steps), generator=rng)
    tokens[:, 0] = BEGIN
    return tokens


def by_steps(model, memory, tokens):
    """Logits of given texts, one token after the other, and where the model looked."""
    state, logits, looked = model.start(memory), [], []
    for step in range(tokens.shape[1]):
        scores, state, shares = model.step(tokens[:, step], state, memory, weights=True)
        logits.append(scores)
        looked.append(shares)
    return torch.stack(logits, 1), looked


ALL_CELLS = list(CELLS)
