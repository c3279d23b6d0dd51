"""The laws of the model of labelled sequences, over every family, mapping and kind of input."""

import pytest
import torch
from torch.nn import functional as F

from tolerance import assert_close
from unspool.cells import CELLS
from unspool.errors import ConfigError, ShapeError
from unspool.layers.dropout import reseed
from unspool.layers.ordinal import ordinal_loss
from unspool.models.mappings import apply_mapping
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import (
    ConvolutionSettings,
    LeNetSettings,
    PerceptronSettings,
    RecurrentSettings,
    settings_class,
)

FAMILIES = {
    "rnn": RecurrentSettings(name="rnn", hidden=8, dropout=0.0),
    "lstm": RecurrentSettings(
        name="lstm", hidden=8, layers=2, bidirectional=True, residual=True, pooling="max",
        dropout=0.0,
    ),
    "gru": RecurrentSettings(
        name="gru", hidden=8, bidirectional=True, dropout=0.0, learn_initial_state=True,
    ),
    "cnn": ConvolutionSettings(hidden=12, kernel=4, dilation=2, residual=True, dropout=0.0),
    "mlp": PerceptronSettings(hidden=12, dropout=0.0, residual=True),
    "attentive": PerceptronSettings(hidden=12, pooling="attention", characters="none", dropout=0.0),
}  # fmt: skip
OUTPUTS = {
    "one": {"mapping": "one", "size": 3},
    "each": {"mapping": "each", "size": 3},
    "ordinal": {"mapping": "ordinal", "size": 4},
    "horizon": {"mapping": "horizon", "size": 2, "horizon": 3, "quantiles": 3, "future": 2},
}
SHAPES = {
    "tokens": {"kind": "tokens", "size": 9},
    "words": {"kind": "words", "size": 9, "characters": 7},
    "numbers": {"kind": "numbers", "size": 3, "categories": [4, 5]},
    "frames": {"kind": "frames", "size": 3},
}
IMAGE = {"kind": "image", "height": 6, "width": 8, "channels": 2}
IMAGES = {
    "gru": FAMILIES["gru"],
    "cnn": ConvolutionSettings(hidden=6, pool_every=2, dense=16, residual=True, dropout=0.0),
    "batch norm": ConvolutionSettings(hidden=6, layers=2, batch_norm=True, dropout=0.0),
    "mlp": FAMILIES["mlp"],
    "lenet": LeNetSettings(first_maps=2, second_maps=3, first_dense=8, second_dense=6),
}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_mapping = pytest.mark.parametrize("mapping", OUTPUTS)
every_kind = pytest.mark.parametrize("kind", SHAPES)


def make(family, mapping, kind, rng, shape=None, **more):
    families = IMAGES if kind == "image" else FAMILIES
    settings = families[family] if isinstance(family, str) else family
    shape = shape or SHAPES.get(kind, IMAGE)
    cell = CELLS.get(settings.name)
    return SequenceModel(shape, {**OUTPUTS[mapping], **more}, settings, cell, rng).double()


def draw_row(kind, steps, rng):
    """The tensors of one sequence without padding."""

    def integers(high, *shape):
        return torch.randint(1, high, shape, generator=rng)

    numbers = torch.randn(1, steps, 3, generator=rng, dtype=torch.float64)
    row = {
        "tokens": {"tokens": integers(9, 1, steps)},
        "words": {"tokens": integers(9, 1, steps), "characters": integers(7, 1, steps, 4)},
        "numbers": {
            "numbers": numbers,
            "categories": torch.cat([integers(4, 1, steps, 1), integers(5, 1, steps, 1)], 2),
        },
        "frames": {"frames": numbers},
        "image": {"image": torch.randn(1, 2, 6, 8, generator=rng, dtype=torch.float64)},
    }[kind]
    if kind == "words":
        row["characters"][:, ::2, 2:] = 0  # every second word is half as long
    return {**row, "future": torch.randn(1, 3, 2, generator=rng, dtype=torch.float64)}


def batch_of(rows, filling, steps):
    """Rows of any length as one padded batch."""
    batch = {}
    for name in rows[0]:
        if name == "future":
            batch[name] = torch.cat([row[name] for row in rows])
            continue
        is_float = rows[0][name].is_floating_point()
        value = filling if is_float else (9999 if filling else 0)
        batch[name] = torch.cat(
            [
                F.pad(row[name], (0, 0) * (row[name].dim() - 2) + (0, steps - row[name].shape[1]),
                      value=value)
                for row in rows
            ]
        )  # fmt: skip
    return batch


@every_family
@every_mapping
@every_kind
def test_padding_and_company_change_nothing(family, mapping, kind, rng, unchecked):
    model = make(family, mapping, kind, rng)
    rows = [draw_row(kind, steps, rng) for steps in (4, 7, 1, 2)]
    lengths = torch.tensor([4, 7, 1, 2])
    alone = [model(row, None)[0] for row in rows]
    for filling in (0.0, 1e4, float("nan")):
        together = model(batch_of(rows, filling, 9), lengths)
        for row, expected in enumerate(alone):
            found = together[row, : lengths[row]] if mapping == "each" else together[row]
            assert_close(found, expected)


@every_family
@every_mapping
@pytest.mark.parametrize("kind", ["words", "numbers"])
def test_gradients_do_not_see_the_padding(family, mapping, kind, rng, unchecked):
    model = make(family, mapping, kind, rng)
    rows, lengths = [draw_row(kind, steps, rng) for steps in (3, 5)], torch.tensor([3, 5])

    def gradients(batch, lengths):
        y = model(batch, lengths)
        if mapping == "each":
            y = torch.where((torch.arange(y.shape[1]) < lengths[:, None])[..., None], y, 0.0)
        found = torch.autograd.grad(y.square().sum(), list(model.parameters()))
        return list(found)

    expected = gradients(batch_of(rows, 0.0, 5), lengths)
    assert_close(gradients(batch_of(rows, float("nan"), 8), lengths), expected)


@every_family
@every_mapping
@pytest.mark.parametrize("kind", ["words", "numbers"])
def test_order_of_the_batch_is_the_order_of_the_result(family, mapping, kind, rng, unchecked):
    model, order = make(family, mapping, kind, rng), torch.tensor([2, 0, 1])
    batch = batch_of([draw_row(kind, steps, rng) for steps in (4, 5, 2)], 0.0, 5)
    lengths = torch.tensor([4, 5, 2])
    shuffled = {name: value[order] for name, value in batch.items()}
    assert_close(model(shuffled, lengths[order]), model(batch, lengths)[order])


@pytest.mark.parametrize("family", ["rnn", "mlp"])
@every_kind
def test_later_steps_change_nothing_before_them_in_one_direction(family, kind, rng):
    model = make(family, "each", kind, rng)
    row, other = draw_row(kind, 6, rng), draw_row(kind, 6, rng)
    changed = {
        name: torch.cat([value[:, :4], other[name][:, 4:]], 1) for name, value in row.items()
    }
    assert_close(model(changed)[:, :4], model(row)[:, :4])
    assert not model(changed)[:, 4:].equal(model(row)[:, 4:])


@pytest.mark.parametrize("family", ["lstm", "cnn"])
def test_later_steps_are_seen_where_both_sides_are_read(family, rng):
    model = make(family, "each", "frames", rng)
    row = draw_row("frames", 6, rng)
    changed = {"frames": row["frames"].clone()}
    changed["frames"][:, 5] += 1.0
    assert not model(changed)[:, 4].equal(model(row)[:, 4])


@every_family
@every_mapping
def test_gradient_is_that_of_finite_differences(family, mapping, rng, unchecked):
    model = make(family, mapping, "numbers", rng)
    names, weights = zip(*model.named_parameters(), strict=True)
    batch = batch_of([draw_row("numbers", steps, rng) for steps in (3, 2)], 0.0, 3)
    lengths = torch.tensor([3, 2])

    def run(numbers, *values):
        inputs = {**batch, "numbers": numbers}
        named = dict(zip(names, values, strict=True))
        y = torch.func.functional_call(model, named, (inputs, lengths))
        return (y[0], y[1, :2]) if mapping == "each" else y

    inputs = [v.detach().requires_grad_() for v in (batch["numbers"], *weights)]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def loss_of(model, mapping, batch, lengths, targets):
    y = model(batch, lengths)
    if mapping == "one":
        return F.cross_entropy(y, targets)
    if mapping == "ordinal":
        return ordinal_loss(y, targets).mean()
    if mapping == "horizon":
        return (y[..., 1] - targets).square().mean()
    return F.cross_entropy(y.transpose(1, 2), targets, ignore_index=-100)


def draw_targets(mapping, rng):
    return {
        "one": torch.tensor([0, 1, 2, 1]),
        "ordinal": torch.tensor([3, 0, 2, 1]),
        "horizon": torch.randn(4, 3, 2, generator=rng, dtype=torch.float64),
        "each": torch.tensor(
            [[0, 1, 2, -100], [2, 2, 1, 0], [1, -100, -100, -100], [0, 0, 1, -100]]
        ),
    }[mapping]


def train(model, mapping, batch, lengths, rng, steps=200):
    targets = draw_targets(mapping, rng)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(weights, 0.03)
    for _ in range(steps):
        loss = loss_of(model, mapping, batch, lengths, targets)
        if loss.item() < 0.045:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


@every_family
@every_mapping
def test_one_batch_is_learnt_by_heart(family, mapping, rng, unchecked):
    model = make(family, mapping, "words", rng, shape={**SHAPES["words"], "size": 20})
    batch = batch_of([draw_row("words", steps, rng) for steps in (3, 4, 1, 3)], 0.0, 4)
    batch["tokens"] = torch.arange(16).reshape(4, 4)  # a word that comes twice has one label
    assert train(model, mapping, batch, torch.tensor([3, 4, 1, 3]), rng) < 0.05


@pytest.mark.parametrize("family", IMAGES)
@pytest.mark.parametrize("mapping", ["one", "ordinal"])
def test_four_images_are_learnt_by_heart(family, mapping, rng, unchecked):
    model = make(family, mapping, "image", rng)
    batch = batch_of([draw_row("image", 0, rng) for _ in range(4)], 0.0, 2)
    assert train(model, mapping, batch, None, rng) < 0.05


def test_labels_that_depend_on_each_other_are_learnt_by_heart(rng, unchecked):
    model = make("lstm", "each", "words", rng, crf=True, labels=["O", "B-x", "I-x"])
    lengths = torch.tensor([3, 4])
    batch = batch_of([draw_row("words", steps, rng) for steps in (3, 4)], 0.0, 4)
    labels = torch.tensor([[0, 1, 2, 0], [1, 1, 2, 0]])
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss = -model.crf.log_likelihood(model(batch, lengths), labels, lengths).mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05
    assert model.crf.decode(model(batch, lengths), lengths).equal(labels)


@every_family
@every_kind
def test_saved_weights_give_the_same_answers(family, kind, rng):
    model, other = (make(family, "one", kind, rng) for _ in range(2))
    row = draw_row(kind, 4, rng)
    assert not other(row).equal(model(row))
    other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    assert other(row).equal(model(row))


@every_family
def test_first_weights_are_a_function_of_the_generator(family):
    before = torch.get_rng_state()
    one, other = (
        make(family, "horizon", "words", torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("kind", ["tokens", "words", "frames"])
def test_reading_in_pieces_is_reading_at_once(kind, rng):
    model, row = make("rnn", "each", kind, rng), draw_row(kind, 6, rng)
    row.pop("future")
    first, state = model.read_on({name: value[:, :2] for name, value in row.items()})
    rest, _ = model.read_on({name: value[:, 2:] for name, value in row.items()}, state)
    assert_close(torch.cat([first, rest], 1), model(row))


@pytest.mark.parametrize(
    ("family", "mapping", "said"),
    [
        ("lstm", "each", "only a recurrent model or a transformer of one direction"),
        ("cnn", "each", "only a recurrent model or a transformer of one direction"),
        ("rnn", "one", "'one' wants a whole sequence"),
    ],
)
def test_what_needs_the_end_cannot_be_read_in_pieces(family, mapping, said, rng):
    with pytest.raises(ConfigError, match=said):
        make(family, mapping, "frames", rng).read_on(draw_row("frames", 3, rng))


def test_last_step_of_two_directions_is_what_each_knows_at_its_end(rng):
    model = make("gru", "one", "frames", rng)
    batch = batch_of([draw_row("frames", steps, rng) for steps in (4, 2)], 1e4, 6)
    lengths = torch.tensor([4, 2])
    _, state = model.encoder(batch["frames"], lengths)
    expected = model.head.linear(state[0].flatten(1))
    assert_close(model(batch, lengths), expected)


def test_quantiles_stand_in_ascending_order(rng):
    model, row = make("rnn", "horizon", "frames", rng, quantiles=5), draw_row("frames", 4, rng)
    assert (model(row).diff(dim=-1) > 0).all()


def test_image_reads_the_same_through_lenet_and_its_padding_by_hand(rng):
    model = make("lenet", "one", "image", rng)
    image = draw_row("image", 0, rng)["image"]
    larger = SequenceModel(
        {"kind": "image", "height": 32, "width": 32, "channels": 2}, OUTPUTS["one"],
        IMAGES["lenet"],
    ).double()  # fmt: skip
    larger.load_state_dict(model.state_dict())
    assert_close(larger({"image": F.pad(image, (12, 12, 13, 13))}), model({"image": image}))


def test_a_row_of_an_image_is_a_step(rng):
    image, frames = make("gru", "one", "image", rng), draw_row("image", 0, rng)["image"]
    rows = [torch.cat([frames[0, :, y, x] for x in range(8)]) for y in range(6)]
    outputs, _ = image.encoder(torch.stack(rows)[None])
    assert_close(image({"image": frames}), image.head(outputs, None))


def test_stacked_frames_are_one_step(rng):
    settings = RecurrentSettings(name="gru", hidden=4, dropout=0.0)
    shape = {"kind": "frames", "size": 3, "stack": 2}
    model = SequenceModel(
        shape, {**OUTPUTS["each"], "aligned": False}, settings, CELLS["gru"], rng
    ).double()
    row = draw_row("frames", 5, rng)
    assert model(row).shape == (1, 3, 3)
    assert model.output_lengths(torch.tensor([5, 4, 1])).tolist() == [3, 2, 1]
    whole = F.pad(row["frames"], (0, 0, 0, 1)).reshape(1, 3, 6)
    outputs, _ = model.encoder(whole)
    assert_close(model(row), model.head(outputs, None))
    padded = {"frames": F.pad(row["frames"], (0, 0, 0, 4), value=float("nan"))}
    assert_close(model(padded, torch.tensor([5]))[:, :3], model(row))


def test_window_of_a_perceptron_is_read_at_once(rng):
    settings = PerceptronSettings(hidden=5, pooling="flatten", dropout=0.0)
    shape = {"kind": "numbers", "size": 3, "steps": 4}
    model = SequenceModel(shape, OUTPUTS["one"], settings, None, rng).double()
    row = {"numbers": draw_row("frames", 3, rng)["frames"]}
    expected = model(row)
    padded = {"numbers": F.pad(row["numbers"], (0, 0, 0, 9), value=float("nan"))}
    assert_close(model(padded, torch.tensor([3])), expected)
    with pytest.raises(ShapeError, match="a sequence has 12 steps; a window has 4"):
        model(padded)


def test_frozen_vectors_are_loaded_and_stay(rng):
    shape = {"kind": "words", "size": 4, "characters": 7, "width": 3, "frozen": True}
    model = make("rnn", "one", "words", rng, shape)
    vectors = torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    vectors[1, 0] = float("nan")
    drawn = model.embedding.weight[1].clone()
    assert model.embedding.load_vectors(vectors) == 3
    assert model.embedding.weight[[0, 2, 3]].equal(vectors[[0, 2, 3]])
    assert model.embedding.weight[1].equal(drawn)
    before = model.embedding.weight.clone()
    rows = [draw_row("words", steps, rng) for steps in (3, 4, 1, 3)]
    batch = batch_of(rows, 0.0, 4)
    batch["tokens"] %= 4
    train(model, "one", batch, torch.tensor([3, 4, 1, 3]), rng, steps=2)
    assert model.embedding.weight.equal(before)


def test_dropout_is_drawn_in_training_only_and_again_from_its_seed(rng):
    settings = RecurrentSettings(name="gru", hidden=8, dropout=0.5)
    model = SequenceModel(SHAPES["tokens"], OUTPUTS["one"], settings, CELLS["gru"], rng)
    row = draw_row("tokens", 5, rng)
    reseed(model, 1)
    first, second = model(row), model(row)
    reseed(model, 1)
    assert model(row).equal(first) and not second.equal(first)
    model.eval()
    assert model(row).equal(model(row))


REFUSED = [
    ({"tie": True}, "tokens", "one", "model.tie"),
    ({"name": "cnn", "pool": 2}, "frames", "each", "output.aligned"),
    ({"name": "mlp", "pooling": "flatten"}, "frames", "each", "flatten"),
    ({"name": "mlp", "pooling": "flatten"}, "frames", "one", "one fixed length"),
    ({"name": "lenet"}, "frames", "one", "reads images only"),
    ({"name": "lenet"}, "words", "one", "reads images only"),
    ({"name": "mlp"}, "image", "each", "cannot label its rows"),
    ({"name": "cnn", "layers": 3}, "image", "one", "1×2 are left"),
    ({"name": "mlp", "characters": "rnn"}, "words", "one", "needs a recurrent model"),
]


@pytest.mark.parametrize(("options", "kind", "mapping", "said"), REFUSED)
def test_what_a_model_cannot_be_is_refused(options, kind, mapping, said, rng):
    settings = settings_class(options.get("name", "lstm"))(**options)
    with pytest.raises(ConfigError, match=said):
        make(settings, mapping, kind, rng)


@pytest.mark.parametrize(
    ("inputs", "lengths", "said"),
    [
        ({}, None, "no input 'tokens' among none"),
        ({"tokens": torch.zeros(2, dtype=torch.int64)}, None, "wanted 2 axes"),
        ({"tokens": torch.zeros(2, 3, dtype=torch.int64)}, [3, 4], r"lengths\[1\] is 4"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, lengths, said, rng):
    model = make("rnn", "one", "tokens", rng)
    with pytest.raises(ShapeError, match=said):
        model(inputs, None if lengths is None else torch.tensor(lengths))


def test_sizes_that_do_not_fit_are_refused(rng):
    with pytest.raises(ShapeError, match="'frames' has 4 values a step; the model reads 3"):
        make("rnn", "one", "frames", rng)({"frames": torch.zeros(1, 2, 4)})
    with pytest.raises(ShapeError, match="channels, height, width"):
        make("mlp", "one", "image", rng)({"image": torch.zeros(1, 2, 8, 6)})
    row = draw_row("frames", 3, rng)
    with pytest.raises(ShapeError, match=r"'future' is nothing; wanted \[1, 3, 2\]"):
        make("rnn", "horizon", "frames", rng)({"frames": row["frames"]})


@pytest.mark.parametrize(
    ("mapping", "name", "outputs"), [("one", "many to one", 1), ("each", "many to many, synced", 5)]
)
def test_model_is_its_core_under_the_mask(mapping, name, outputs, rng):
    model, row = make("rnn", mapping, "frames", rng), draw_row("frames", 5, rng)
    given = apply_mapping(model.encoder, row["frames"], name, outputs)
    expected = model.head.linear(given[:, 0] if mapping == "one" else given)
    assert_close(model(row), expected)
