"""Encoder-decoders: what they compute does not depend on how, nor on neighbours or padding."""

import math

import pytest
import torch
from torch.nn import functional as F

from tolerance import assert_close
from unspool.cells.find import find_cell
from unspool.errors import ConfigError, ShapeError
from unspool.layers.dropout import Dropout, derived_seed, reseed
from unspool.layers.positions import sinusoidal
from unspool.layers.recurrent import Recurrent
from unspool.models.bridge import Bridge
from unspool.models.encoder_decoder import build_encoder_decoder
from unspool.models.setting_bounds import ATTENDS, SCORES
from unspool.models.settings import ConvolutionSettings, RecurrentSettings, TransformerSettings
from writing_models import (
    ALL_CELLS,
    BEGIN,
    END,
    IMAGE,
    SOURCE,
    TARGET,
    TOKENS,
    by_steps,
    given,
    make,
    texts,
)  # fmt: skip

KINDS = [("none", "late"), *((score, attends) for score in SCORES[1:] for attends in ATTENDS)]
every_kind = pytest.mark.parametrize(("score", "attends"), KINDS)


def everything(model, inputs, lengths, tokens):
    """Logits and the gradient of every weight."""
    logits = model(inputs, lengths, tokens)
    wave = torch.arange(logits[0].numel(), dtype=logits.dtype).cos().view_as(logits[0])
    leaves = list(model.parameters())
    found = torch.autograd.grad((logits * wave).sum(), leaves, allow_unused=True)
    return [logits.detach(), *[g for g in found if g is not None]]


# One way or another


@every_kind
@pytest.mark.parametrize("positions", ["none", "sinusoidal"])
def test_step_by_step_is_one_whole_pass(score, attends, positions, rng):
    model = make(rng, score=score, attends=attends, attention_heads=2, positions=positions)
    inputs, lengths = texts(rng)
    tokens = given(rng)
    memory = model.encode(inputs, lengths)
    logits, looked = by_steps(model, memory, tokens)
    assert_close(logits, model(inputs, lengths, tokens))
    for shares in looked:
        assert (shares is None) == (score == "none")
        if shares is not None:
            assert_close(shares.sum(-1), torch.ones_like(shares[:, 0]))
            padded = torch.arange(5) >= lengths[:, None]
            assert (shares[padded] == 0).all()


@pytest.mark.parametrize("cell", ALL_CELLS)
@pytest.mark.parametrize("score", SCORES)
def test_every_cell_writes_with_every_score(cell, score, rng):
    attends = {"none": "late", "additive": "inside", "general": "feeding"}.get(score, "late")
    settings = {"score": score, "attends": attends, "attention_heads": 2}
    model = make(rng, cell, **settings, recurrent_dropout=0.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)  # contractive, for all cells
    inputs, lengths = texts(rng)
    tokens = given(rng)
    logits, _ = by_steps(model, model.encode(inputs, lengths), tokens)
    assert_close(logits, model(inputs, lengths, tokens))
    gradients = everything(model, inputs, lengths, tokens)
    assert all(value.isfinite().all() for value in gradients)


MIXED = {
    "lstm to gru": {"cell": "lstm", "decoder": "gru"},
    "gru to lstm": {"cell": "gru", "decoder": "lstm"},
    "wider": {"cell": "lstm", "decoder_hidden": 6},
    "deeper": {"cell": "gru", "layers": 1, "decoder_layers": 3, "residual": True},
    "shallower": {"cell": "lstm", "layers": 3, "decoder_layers": 1},
    "both ways": {"cell": "lstm", "bidirectional": True, "layers": 2},
    "normaliser": {"cell": "slstm", "bidirectional": True},
}


@pytest.mark.parametrize("attends", ATTENDS)
@pytest.mark.parametrize("name", MIXED)
def test_any_stack_hands_over_to_any_other(name, attends, rng):
    model = make(rng, attends=attends, **MIXED[name])
    inputs, lengths = texts(rng)
    tokens = given(rng)
    memory = model.encode(inputs, lengths)
    assert_close(by_steps(model, memory, tokens)[0], model(inputs, lengths, tokens))
    # The first state tells of the input, in every layer.
    other = model.encode({"tokens": (inputs["tokens"] + 1) % SOURCE}, lengths)
    assert ((memory.start[0] - other.start[0]).abs().amax(-1) > 0).all()


def test_same_stack_hands_its_state_over_as_it_is(rng):
    encoder, decoder = (Recurrent("lstm", 3, 4, num_layers=2, generator=rng) for _ in range(2))
    _, final = encoder(torch.randn(2, 5, 3, generator=rng))
    bridge = Bridge(encoder, decoder)
    assert not list(bridge.parameters())
    assert_close(bridge(final), final)
    other = Bridge(encoder, Recurrent("lstm", 3, 5, num_layers=2, generator=rng), rng)
    assert [list(value.shape) for value in other(final)] == [[2, 2, 5]] * 2


def test_learnt_bridge_is_its_equation(rng):
    encoder = Recurrent("lstm", 3, 4, bidirectional=True, generator=rng)
    bridge = Bridge(encoder, Recurrent("lstm", 3, 5, generator=rng), rng)
    _, (h, c) = encoder(torch.randn(2, 6, 3, generator=rng))
    summary = torch.cat([h[:, 0], c[:, 0], h[:, 1], c[:, 1]], 1)
    expected = torch.tanh(bridge.learnt[0](summary))
    start = bridge((h, c))
    assert_close(torch.cat([start[0][:, 0], start[1][:, 0]], 1), expected)


# The lectures' forms


@pytest.mark.parametrize("attends", ATTENDS)
def test_attention_is_where_the_settings_say(attends, rng):
    model = make(rng, "rnn", score="dot", attends=attends)
    inputs, _ = texts(rng, rows=1)
    tokens, memory = given(rng, rows=1), model.encode(inputs)
    own, states = model.decoder, memory.keys[1][0]
    weights = own.recurrent.weights["l0"]
    h, z, logits = memory.start[0][0, 0], torch.zeros(4, dtype=states.dtype), []

    def look(query):
        return (states @ query).softmax(0) @ states

    for token in tokens[0]:
        y = own.weight[token]
        read = {"late": [y], "feeding": [y, z], "inside": [y, look(h)]}[attends]
        context = look(h)
        h = torch.tanh(weights["W"] @ torch.cat(read) + weights["U"] @ h + weights["b"])
        context = context if attends == "inside" else look(h)
        z = torch.tanh(own.combine(torch.cat([h, context])))
        logits.append(own.head(z))
    assert_close(model(inputs, None, tokens)[0], torch.stack(logits))


def test_positions_are_added_to_what_either_side_reads(rng):
    model = make(rng, positions="sinusoidal")
    inputs, _ = texts(rng)
    tokens = given(rng)
    logits = model(inputs, None, tokens)
    placed = make(torch.Generator(), positions="none")
    placed.load_state_dict(model.state_dict())
    read = F.embedding(inputs["tokens"], model.embedding.weight)
    outputs, final = placed.encoder(read + sinusoidal(torch.arange(5), 4))
    memory = placed.decoder.remember(outputs, None, final)
    written = F.embedding(tokens, model.decoder.weight) + sinusoidal(torch.arange(4), 4)
    h, _ = placed.decoder.recurrent(written, None, memory.start)
    context, _ = placed.decoder.attention(h, memory.keys)
    z = torch.tanh(placed.decoder.combine(torch.cat([h, context], -1)))
    assert_close(logits, placed.decoder.head(z))
    assert not torch.equal(logits, placed(inputs, None, tokens))


def test_without_attention_all_is_squeezed_into_one_state(rng):
    model = make(rng, score="none")
    memory = model.encode(*texts(rng))
    assert memory.keys == ()
    assert sum(value[0].numel() for value in memory.start) == 4


# Laws


@every_kind
@pytest.mark.parametrize("filler", [0, SOURCE - 1])
def test_padding_and_company_change_nothing(score, attends, filler, rng):
    both = score not in ("dot", "scaled_dot")  # which want as many features on both sides
    settings = {"score": score, "attends": attends, "attention_heads": 2, "bidirectional": both}
    settings["positions"] = "sinusoidal" if filler else "none"
    model = make(rng, "lstm", **settings)
    inputs, lengths = texts(rng)
    tokens = given(rng)
    together = everything(model, inputs, lengths, tokens)
    longer = F.pad(inputs["tokens"], (0, 3), value=filler)
    longer = torch.where(torch.arange(8) < lengths[:, None], longer, filler)
    assert_close(everything(model, {"tokens": longer}, lengths, tokens), together)
    for row, length in enumerate(lengths.tolist()):
        alone = model({"tokens": inputs["tokens"][row, None, :length]}, None, tokens[row, None])
        assert_close(alone[0], together[0][row])


@pytest.mark.parametrize("filler", [1e4, math.nan])
@pytest.mark.parametrize("score", SCORES)
def test_what_stands_in_the_padding_of_numbers_is_never_read(score, filler, rng):
    model = make(rng, source={"kind": "numbers", "size": 3}, score=score, attention_heads=2)
    numbers = torch.randn(3, 5, 3, generator=rng, dtype=torch.float64)
    lengths, tokens = torch.tensor([5, 2, 1]), given(rng)
    spoilt = torch.where(torch.arange(5)[:, None] < lengths[:, None, None], numbers, filler)
    expected = everything(model, {"numbers": numbers}, lengths, tokens)
    assert_close(everything(model, {"numbers": spoilt}, lengths, tokens), expected)


@every_kind
def test_later_tokens_change_no_earlier_score(score, attends, rng):
    model = make(rng, score=score, attends=attends, attention_heads=2)
    inputs, lengths = texts(rng)
    tokens = given(rng)
    before = model(inputs, lengths, tokens)
    other = tokens.clone()
    other[:, 2:] = (other[:, 2:] + 1) % BEGIN
    after = model(inputs, lengths, other)
    assert torch.equal(after[:, :2], before[:, :2])
    assert not torch.equal(after[:, 2:], before[:, 2:])


@every_kind
def test_gradient_is_that_of_finite_differences(score, attends, rng):
    model = make(rng, "rnn", hidden=2, score=score, attends=attends, attention_heads=2)
    inputs, lengths = texts(rng, rows=2, steps=3)
    tokens = given(rng, rows=2, steps=3)
    names = [name for name, _ in model.named_parameters()]

    def run(*parameters):
        weights = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(model, weights, (inputs, lengths, tokens))

    parameters = [value.detach().clone().requires_grad_() for value in model.parameters()]
    assert torch.autograd.gradcheck(run, parameters, fast_mode=True)


@pytest.mark.parametrize("attends", ATTENDS)
def test_fused_code_gives_what_the_readable_loop_gives(attends, rng):
    model = make(rng, attends=attends)
    inputs, lengths = texts(rng)
    tokens = given(rng)
    readable = everything(model, inputs, lengths, tokens)
    for layer in (model.encoder, model.decoder.recurrent):
        layer.named_backend = "auto"
    assert_close(everything(model, inputs, lengths, tokens), readable)


@every_kind
def test_a_row_of_the_memory_serves_several_beginnings(score, attends, rng):
    model = make(rng, score=score, attends=attends, attention_heads=2)
    memory = model.encode(*texts(rng))
    state = model.start(memory).expand(2)
    tokens = torch.randint(TARGET, (6,), generator=rng)
    shared = model.step(tokens, state, memory, weights=True)
    whole = model.step(tokens, state, memory.expand(2), weights=True)
    for one, other in zip(shared, whole, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_close(one, other)
    rows, each = torch.tensor([2, 0]), (tokens[:3], model.start(memory))
    chosen = model.step(tokens[rows], each[1].select_rows(rows), memory.select_rows(rows))[0]
    assert_close(chosen, model.step(*each, memory)[0][rows])


def test_lengths_of_the_texts_change_no_score_before_their_end(rng):
    model = make(rng)
    inputs, lengths = texts(rng)
    tokens, true = given(rng), torch.tensor([4, 2, 1])
    whole = model(inputs, lengths, tokens)
    short = model(inputs, lengths, tokens, true)
    valid = torch.arange(4) < true[:, None]
    assert_close(short[valid], whole[valid])


# One to many


def inputs_of(rng, source, rows=3):
    if source is IMAGE:
        image = torch.randn(rows, 2, 12, 16, generator=rng, dtype=torch.float64)
        return {"image": image}, None
    ones = torch.ones(rows, dtype=torch.int64)
    if source is VECTOR:
        return {"numbers": torch.randn(rows, 1, 3, generator=rng, dtype=torch.float64)}, ones
    return {"tokens": torch.arange(rows)[:, None] % 3}, ones


VECTOR = {"kind": "numbers", "size": 3, "steps": 1}
CLASS = {"kind": "tokens", "size": 3, "steps": 1}


@every_kind
def test_a_text_is_written_for_an_image(score, attends, rng):
    if score in ("dot", "scaled_dot"):
        return  # as wide as the maps, which the rest of the table has other than the units
    settings = {"score": score, "attends": attends, "attention_heads": 2, "decoder_hidden": 8}
    model = make(rng, source=IMAGE, **settings)
    inputs, _ = inputs_of(rng, IMAGE)
    tokens, memory = given(rng), model.encode(inputs)
    logits, looked = by_steps(model, memory, tokens)
    assert_close(logits, model(inputs, None, tokens))
    assert model.encoder.sides == (3, 4)
    assert looked[0] is None or looked[0].shape == (3, 12)
    alone = model({"image": inputs["image"][1:2]}, None, tokens[1:2])
    assert_close(alone, logits[1:2])


def test_a_place_of_the_memory_is_a_part_of_the_image(rng):
    model = make(rng, source=IMAGE, decoder_hidden=8)
    inputs, _ = inputs_of(rng, IMAGE, rows=1)
    changed = inputs["image"].clone()
    changed[0, :, 0, 0] += 5.0
    one, other = (model.encode({"image": each}).keys[1][0] for each in (inputs["image"], changed))
    moved = (one - other).abs().amax(-1).view(model.encoder.sides) > 0
    assert moved[0, 0]
    assert not moved[-1, -1]


@pytest.mark.parametrize("source", [VECTOR, CLASS], ids=["vector", "class"])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_text_is_written_for_one_vector_and_for_a_class(source, cell, rng):
    model = make(rng, cell, source=source)
    inputs, lengths = inputs_of(rng, source)
    tokens, memory = given(rng), model.encode(inputs, lengths)
    assert model.encoder is None
    assert memory.keys == ()
    logits, looked = by_steps(model, memory, tokens)
    assert looked == [None] * 4
    assert_close(logits, model(inputs, lengths, tokens))
    assert not torch.equal(logits[0], logits[1])


# Vocabularies, refusals, learning


def test_one_vocabulary_has_one_table_and_its_gradient_is_the_sum(rng):
    model = make(rng, shared=True)
    assert model.embedding.weight is model.decoder.weight
    assert len([name for name, _ in model.named_parameters() if name.endswith("g.weight")]) == 1
    tied = make(rng, shared=True, tie=True)
    assert tied.decoder.head.weight is tied.embedding.weight
    inputs, lengths = texts(rng)
    tokens = given(rng)
    found = everything(tied, inputs, lengths, tokens)
    assert_close(by_steps(tied, tied.encode(inputs, lengths), tokens)[0], found[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "dot", "bidirectional": True}, "'dot' compares queries of 4 features"),
        ({"score": "multi_head", "attention_heads": 3}, "3 heads of 4 units of what writes"),
        ({"positions": "rotary"}, r"model\.positions: unknown name 'rotary'"),
        ({"positions": "sinusoidal", "hidden": 5}, "wants hidden even; got 5 features"),
        ({"tie": True, "decoder_hidden": 6}, "token vectors are 4 wide and what writes has 6"),
        ({"attends": "feeding", "recurrent_dropout": 0.1}, "is drawn once a text"),
        ({"score": "none", "attends": "inside"}, "says where to look"),
        ({"score": "generall"}, "Did you mean 'general'"),
        ({"decoder": "gruu"}, "unknown name 'gruu'"),
        ({"source": IMAGE, "image_layers": 5}, r"model\.image_layers: 5 halvings of 12×16 pixels"),
        ({"source": IMAGE, "shared": True}, r"target\.shared: one vocabulary needs tokens"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(settings, message, rng):
    with pytest.raises(ConfigError, match=message):
        make(rng, **settings)


@pytest.mark.parametrize("settings", [RecurrentSettings, TransformerSettings])
def test_forgotten_tokens_are_read_as_the_one_before_every_text(settings, rng):
    shape = {"source": TOKENS, "target": {"size": TARGET, "begin": BEGIN, "end": END}}
    own = {"name": "gru"} if settings is RecurrentSettings else {"layers": 1, "heads": 1}
    chosen = settings(hidden=4, dropout=0.0, token_dropout=0.5, **own)
    cell = find_cell("gru") if settings is RecurrentSettings else None
    model = build_encoder_decoder(shape, chosen, cell, rng).double()
    inputs, lengths = texts(rng)
    tokens = given(rng)
    reseed(model, 3)
    forgetful = model(inputs, lengths, tokens)
    reseed(model, 3)
    assert torch.equal(model(inputs, lengths, tokens), forgetful)
    mask = Dropout(0.5)
    mask.generator = torch.Generator().manual_seed(derived_seed(3, place_of(model.forgets, model)))
    known = mask.mask(tokens, *tokens.shape) > 0
    assert not known.all()
    blanked = torch.where(known, tokens, BEGIN)
    model.eval()
    assert_close(forgetful, model(inputs, lengths, blanked))
    assert not torch.equal(forgetful, model(inputs, lengths, tokens))


def place_of(layer, model):
    """Where a layer stands among the dropouts of a model."""
    return [each for each in model.modules() if isinstance(each, Dropout)].index(layer)


def test_other_families_and_shapes_are_refused(rng):
    shape = {"source": TOKENS, "target": {"size": 7, "begin": 5, "end": 6}}
    with pytest.raises(ConfigError, match="'cnn' cannot write a text for an input"):
        build_encoder_decoder(shape, ConvolutionSettings(), None)
    model = make(rng)
    memory = model.encode(*texts(rng))
    with pytest.raises(ShapeError, match="2 texts for a memory of 3 rows"):
        model.decoder(given(rng)[:2], memory)
    with pytest.raises(ShapeError, match=r"lengths\[0\] is 6, but inputs have 5 steps"):
        model.encode(texts(rng)[0], torch.tensor([6, 1, 1]))


@pytest.mark.parametrize("attends", ATTENDS)
def test_a_few_texts_are_learnt(attends, rng):
    """Turned round: the first token comes last."""
    model = make(rng, "gru", attends=attends, hidden=24, score="general", dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.4)
    tokens = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1], [1, 1, 4, 2], [2, 0, 0, 4]])
    fed = torch.cat([torch.full((4, 1), BEGIN), tokens.flip(1)], 1)
    wanted = torch.cat([tokens.flip(1), torch.full((4, 1), END)], 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(100):
        logits = model({"tokens": tokens}, None, fed)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05
    found, _ = by_steps(model, model.encode({"tokens": tokens}), fed)
    assert torch.equal(found.argmax(-1), wanted)
