"""Texts and words as numbers: back from JSON, beside others, unknown, empty, too long."""

import json

import pytest
import torch

from unspool.data.settings import DataSettings
from unspool.data.text_encoders import LONGEST_WORD, TextEncoder, WordsEncoder
from unspool.errors import DataError

TEXTS = ["The cat sat", "a dog ran and ran", "the end"]
SENTENCES = [text.split() for text in TEXTS]
SETTINGS = {
    "characters": DataSettings(),
    "words": DataSettings(tokens="word", vocabulary=50, lower=True),
    "byte pairs": DataSettings(tokens="bpe", vocabulary=260),
    "truncated": DataSettings(max_length=4, too_long="truncate"),
}
ENCODERS = {
    **{name: (lambda s=s: TextEncoder.fit(TEXTS, s), TEXTS) for name, s in SETTINGS.items()},
    "spelt words": (lambda: WordsEncoder.fit(SENTENCES, DataSettings()), SENTENCES),
}


def equal(one, other):
    pair = isinstance(one, tuple)
    return all(map(torch.equal, one, other)) if pair else torch.equal(one, other)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_comes_back_from_its_json(name):
    make, inputs = ENCODERS[name]
    encoder = make()
    text = json.dumps(encoder.to_dict(), allow_nan=False)
    found = type(encoder).from_dict(json.loads(text))
    assert json.dumps(found.to_dict()) == text and found.shape == encoder.shape
    assert all(equal(found.encode(each), encoder.encode(each)) for each in inputs)


@pytest.mark.parametrize("name", ENCODERS)
def test_ids_are_in_the_shape_when_nothing_is_known(name):
    make, inputs = ENCODERS[name]
    encoder = make()
    strange = ["žluťoučký 🐎"] if isinstance(inputs[0], str) else [["žluťoučký", "🐎", ""]]
    batch, lengths = encoder.collate([encoder.encode(each) for each in [*inputs, *strange]])
    assert int(lengths.min()) >= 1
    assert int(batch["tokens"].min()) >= 0 and int(batch["tokens"].max()) < encoder.shape["size"]
    if "characters" in batch:
        assert int(batch["characters"].max()) < encoder.shape["characters"]


@pytest.mark.parametrize("name", ENCODERS)
def test_collated_rows_begin_with_what_was_encoded(name):
    make, inputs = ENCODERS[name]
    encoder = make()
    encoded = [encoder.encode(each) for each in inputs]
    batch, lengths = encoder.collate(encoded)
    assert lengths.dtype == torch.int64
    for row, each in enumerate(encoded):
        ids = each[0] if isinstance(each, tuple) else each
        assert torch.equal(batch["tokens"][row, : lengths[row]], ids)
        assert not batch["tokens"][row, lengths[row] :].any()


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "byte pairs"])
def test_order_of_the_training_part_changes_nothing(name):
    """Of byte pairs it does: merges of equal count are chosen by where they stand."""
    make, inputs = ENCODERS[name]
    turned = list(reversed(inputs))
    encoder = make()
    settings = SETTINGS.get(name, DataSettings())
    assert type(encoder).fit(turned, settings).to_dict() == encoder.to_dict()


def test_a_text_of_which_nothing_is_left_is_one_token_of_its_own():
    encoder = TextEncoder.fit(TEXTS, DataSettings())
    known = {each for text in TEXTS for each in encoder.encode(text).tolist()}
    for empty in ("", "🐎"):
        [token] = encoder.encode(empty).tolist()
        assert token not in known and token == encoder.shape["size"] - 1


def test_words_seen_once_are_unknown_but_spelt():
    encoder = WordsEncoder.fit([["Ran", "ran", "once"]], DataSettings())
    ids, spelt = encoder.encode(["RAN", "once", "never"])
    assert ids.tolist() == [1, 0, 0]
    assert len({tuple(row) for row in spelt.tolist()}) == 3


def test_a_long_word_is_spelt_by_its_beginning():
    encoder = WordsEncoder.fit([["a" * 9, "b"]], DataSettings())
    assert encoder.encode(["a" * 1000])[1].shape == (1, LONGEST_WORD)


@pytest.mark.parametrize("too_long", ["refuse", "truncate"])
@pytest.mark.parametrize("kind", ["text", "words"])
def test_too_many_steps_are_refused_or_cut_as_the_settings_say(kind, too_long):
    settings = DataSettings(max_length=3, too_long=too_long)
    if kind == "text":
        encoder, given = TextEncoder.fit(TEXTS, settings), "the cat"
    else:
        encoder, given = WordsEncoder.fit(SENTENCES, settings), ["the"] * 7
    if too_long == "refuse":
        with pytest.raises(DataError, match=r"has 7 steps; data\.max_length is 3"):
            encoder.encode(given)
    else:
        cut = encoder.encode(given)
        assert len(cut if kind == "text" else cut[0]) == 3


@pytest.mark.parametrize("value", [3, None, ["a"]])
def test_what_is_no_text_is_refused(value, unchecked):
    with pytest.raises(DataError, match="wanted text"):
        TextEncoder.fit(TEXTS, DataSettings()).encode(value)


@pytest.mark.parametrize(("value", "message"), [("a cat", "a list of words"), ([], "no words"),
                                                ([1], "a list of words")])  # fmt: skip
def test_what_is_no_list_of_words_is_refused(value, message, unchecked):
    with pytest.raises(DataError, match=message):
        WordsEncoder.fit(SENTENCES, DataSettings()).encode(value)
