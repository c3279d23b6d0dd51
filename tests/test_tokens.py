import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from unspool.data import byte_pairs
from unspool.data.byte_pairs import ALPHABET, BytePairTokenizer
from unspool.data.settings import TOKENS
from unspool.data.text import read_text
from unspool.data.tokenizer import lowered
from unspool.data.tokens import TOKENIZERS, DataSettings, fit_tokenizer, load_tokenizer
from unspool.data.words import UNKNOWN, pieces_of
from unspool.errors import CheckpointError, DataError

TEXT = (
    "First Citizen:\r\nBefore we proceed any further, hear me speak. I'll  be\there; naïve → 𝄞!\n"
    * 3
)
# Every plane, and many characters near each other so that words and joins come about.
CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    "ab ,'\n\r\u00a0ΣσİЖ中𝄞\u0301"
)
ANY_TEXT = st.text(CHARACTERS, min_size=1)
SETTINGS = {
    "char": DataSettings(tokens="char"),
    "word": DataSettings(tokens="word", vocabulary=1000),
    "bpe": DataSettings(tokens="bpe", vocabulary=300),
}
BYTE_PAIRS = BytePairTokenizer.fit(TEXT, SETTINGS["bpe"])
# Has learned joins of spaces and line ends.
SPACED = BytePairTokenizer.fit("a \n\n b\n\n\nc  \n d\n \n" * 20, SETTINGS["bpe"])


def fit(name, text=TEXT, **changes):
    given_settings = SETTINGS[name]
    fields = {field: getattr(given_settings, field) for field in given_settings.__slots__}
    return fit_tokenizer(text, DataSettings(**{**fields, **changes}))


def test_table_and_settings_name_the_same_kinds():
    assert tuple(TOKENIZERS) == TOKENS == tuple(SETTINGS)
    assert all(TOKENIZERS[name].kind == name for name in TOKENIZERS)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=ANY_TEXT)
def test_text_comes_back_exactly_when_the_vocabulary_has_it(name, text):
    tokenizer = BYTE_PAIRS if name == "bpe" else fit(name, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64 and ids.min() >= 0 and ids.max() < tokenizer.size
    assert tokenizer.decode(ids) == text
    assert "".join(tokenizer.pieces(ids.tolist())) == text
    assert tokenizer.unknown(text) == [] and tokenizer.coverage(text) == 1


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=ANY_TEXT)
def test_lower_cased_text_comes_back_lower_cased(name, text):
    tokenizer = fit(name, text, lower=True)
    assert tokenizer.decode(tokenizer.encode(text)) == lowered(text)
    assert (
        load_tokenizer(tokenizer.to_json()).encode(text).tolist() == tokenizer.encode(text).tolist()
    )


@given(text=ANY_TEXT, other=ANY_TEXT)
@example(text="ΟΔΟΣ", other="Α")
def test_lower_casing_does_not_depend_on_how_a_text_is_cut(text, other):
    assert lowered(text + other) == lowered(text) + lowered(other)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("lower", [False, True])
@given(text=ANY_TEXT)
def test_file_is_read_back_and_gives_the_same_ids_as_the_tokenizers_package(name, lower, text):
    # The package may know letters of a newer Unicode than this Python does.
    assume(not lower or normalizers.Lowercase().normalize_str(text) == lowered(text))
    tokenizer = fit(name, TEXT + text, lower=lower)
    written = tokenizer.to_json()
    again = load_tokenizer(written)
    assert type(again) is type(tokenizer) and again.to_json() == written
    assert again.vocabulary == tokenizer.vocabulary and again.lower == lower
    ids = tokenizer.encode(text)
    assert again.encode(text).tolist() == ids.tolist()
    package = tokenizers.Tokenizer.from_str(written)
    assert package.encode(text).ids == ids.tolist()
    assert package.decode(ids.tolist(), skip_special_tokens=False) == tokenizer.decode(ids)
    assert package.get_vocab_size() == tokenizer.size


@pytest.mark.parametrize("name", TOKENIZERS)
def test_empty_text_has_no_tokens_and_teaches_none(name):
    tokenizer = fit(name)
    assert tokenizer.encode("").shape == (0,) and tokenizer.encode("").dtype == np.int64
    assert tokenizer.decode([]) == "" and tokenizer.coverage("") == 1
    with pytest.raises(DataError, match="is empty"):
        fit(name, "")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_lone_surrogate_is_refused_with_its_place(name):
    tokenizer = fit(name)
    for refuse in (tokenizer.encode, tokenizer.unknown, tokenizer.coverage, lambda t: fit(name, t)):
        with pytest.raises(DataError, match=r"character 5 \(line 2\) .* U\+D800"):
            refuse("here\n\ud800")


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("wrong", [-1, 10_000])
def test_id_outside_the_vocabulary_is_refused(name, wrong):
    tokenizer = fit(name)
    for refuse in (
        tokenizer.decode,
        lambda ids: tokenizer.token(ids[1]),
        lambda ids: list(tokenizer.pieces(ids)),
    ):
        with pytest.raises(DataError, match=f"id {wrong}"):
            refuse([0, wrong])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_token_names_every_id(name):
    tokenizer = fit(name)
    assert (
        len(tokenizer.vocabulary)
        == tokenizer.size
        == len({tokenizer.token(i) for i in range(tokenizer.size)})
    )


def test_hello_exercise_has_the_lecture_s_pairs():
    tokenizer = fit("char", "hello")
    assert sorted(tokenizer.vocabulary) == sorted("helo")
    inputs, targets = tokenizer.encode("hello")[:-1], tokenizer.encode("hello")[1:]
    assert tokenizer.decode(inputs) == "hell" and tokenizer.decode(targets) == "ello"
    pairs = [
        (tokenizer.token(i), tokenizer.token(t))
        for i, t in zip(inputs.tolist(), targets.tolist(), strict=True)
    ]
    assert pairs == [("h", "e"), ("e", "l"), ("l", "l"), ("l", "o")]


def test_characters_have_the_lecture_s_codes_when_shakespeare_is_lower_cased(shakespeare):
    tokenizer = fit("char", shakespeare, lower=True)
    assert tokenizer.size == 39
    assert dict(zip("first", tokenizer.encode("First").tolist(), strict=True)) == {
        "f": 18,
        "i": 21,
        "r": 30,
        "s": 31,
        "t": 32,
    }
    assert fit("char", shakespeare).size == 65


def test_codes_follow_the_lecture_s_order_line_end_space_marks_letters():
    # Thirteen symbols stand before the letters of lower-cased Shakespeare.
    tokenizer = fit("char", "\n !$&',-.3:;?" + "abcdefghijklmnopqrstuvwxyz".upper(), lower=True)
    assert tokenizer.encode("First").tolist() == [18, 21, 30, 31, 32]


@given(text=ANY_TEXT)
def test_character_ids_are_places_in_the_sorted_set(text):
    alphabet = sorted(set(text))
    assert fit("char", text).encode(text).tolist() == [alphabet.index(c) for c in text]


def test_characters_that_the_vocabulary_lacks_are_listed_with_their_place():
    tokenizer = fit("char", "plain text\n")
    with pytest.raises(DataError) as caught:
        tokenizer.encode("in\nét\0é𝄞", where="prompt")
    message = str(caught.value)
    assert message.startswith("prompt: ") and "\n" not in message and "\0" not in message
    assert "'é' (U+00E9) at character 3 (line 2)" in message
    assert "'\\x00' (U+0000) at character 5" in message and "(U+1D11E) at character 7" in message
    assert "--data.tokens bpe" in message
    assert tokenizer.unknown("in\nét\0é𝄞") == ["é", "\0", "𝄞"]
    assert tokenizer.coverage("plain 123") == pytest.approx(6 / 9)


def test_list_of_missing_characters_ends_when_it_is_long():
    with pytest.raises(DataError, match="and 16 more"):
        fit("char", "1").encode("abcdefghijklmnopqrstuvwxyz")


@given(text=ANY_TEXT)
def test_pieces_of_a_text_joined_are_the_text(text):
    assert "".join(pieces_of(text)) == text


def test_pieces_are_words_marks_and_single_spaces():
    assert pieces_of("a  b\n\nI'll, ok") == ["a", " ", " b", "\n", "\n", "I'll", ",", " ok"]


def test_words_that_are_equally_frequent_are_kept_in_the_order_of_the_alphabet():
    assert fit("word", " d c b a", vocabulary=3).vocabulary == [UNKNOWN, " a", " b"]


def test_words_keep_the_most_frequent_and_report_the_rest():
    tokenizer = fit("word", "a b a b a c d a", vocabulary=3)
    assert tokenizer.vocabulary == [UNKNOWN, " a", " b"]
    assert tokenizer.unknown("x b, x a") == ["x", ","]
    assert tokenizer.coverage(" a b c d") == 0.5
    assert tokenizer.decode(tokenizer.encode(" a z b")) == f" a{UNKNOWN} b"


def test_words_never_take_written_text_for_the_stand_in():
    tokenizer = fit("word", f"a {UNKNOWN} b")
    assert tokenizer.decode(tokenizer.encode(f"a {UNKNOWN} b")) == f"a {UNKNOWN} b"
    assert tokenizer.vocabulary.index(UNKNOWN) not in tokenizer.encode(f"a {UNKNOWN} b")


def test_byte_alphabet_is_that_of_the_tokenizers_package():
    assert sorted(ALPHABET) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert (
        BYTE_PAIRS.decode([BYTE_PAIRS.vocabulary.index(ALPHABET[byte]) for byte in b"\nA~"])
        == "\nA~"
    )


@given(
    text=st.lists(st.sampled_from(["end.\n", "Next", " \n", "\n", "9", "é\n", "a's", " "])).map(
        "".join
    )
)
def test_byte_pairs_are_the_same_when_a_long_text_is_taken_in_parts(text):
    whole = SPACED.encode(text).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_pairs, "CHUNK", 3)
        assert SPACED.encode(text).tolist() == whole


@given(ids=st.lists(st.integers(0, BYTE_PAIRS.size - 1)))
def test_byte_pairs_that_make_no_character_are_decoded_alike_whole_and_arriving(ids):
    assert "".join(BYTE_PAIRS.pieces(ids)) == BYTE_PAIRS.decode(ids)


def test_arriving_byte_pairs_are_held_back_until_a_character_is_whole():
    ids = [BYTE_PAIRS.vocabulary.index(ALPHABET[byte]) for byte in "a→".encode()]
    assert list(BYTE_PAIRS.pieces(ids)) == ["a", "→"]
    assert BYTE_PAIRS.token(ids[1]) == "<e2>"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_vocabulary_is_the_same_in_another_process(name):
    code = (
        "import sys, hashlib\n"
        "from unspool.data.tokens import DataSettings, fit_tokenizer\n"
        "text = sys.stdin.buffer.read().decode()\n"
        f"written = fit_tokenizer(text, DataSettings(tokens={name!r}, vocabulary=300)).to_json()\n"
        "print(hashlib.sha256(written.encode()).hexdigest())\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], input=TEXT.encode(), capture_output=True, check=True
        )
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout and runs[0].stderr == b""


def damaged(name, change):
    contents = json.loads(fit(name).to_json())
    change(contents)
    return json.dumps(contents)


def first_token(contents):
    return next(iter(contents["model"]["vocab"]))


DAMAGES = {
    "an id twice": lambda c: c["model"]["vocab"].update({first_token(c): 1}),
    "an id missing": lambda c: c["model"]["vocab"].update({first_token(c): 99_999}),
    "an id below zero": lambda c: c["model"]["vocab"].update({first_token(c): -1}),
    "an id that is no number": lambda c: c["model"]["vocab"].update({first_token(c): "0"}),
    "an id that is a truth value": lambda c: c["model"]["vocab"].update({first_token(c): False}),
    "a token removed": lambda c: c["model"]["vocab"].pop(first_token(c)),
    "a token in place of the first": lambda c: (
        c["model"]["vocab"].pop(first_token(c)),
        c["model"]["vocab"].update(zz=0),
    ),
    "a token that cannot occur": lambda c: c["model"]["vocab"].update(
        {"no token ": len(c["model"]["vocab"])}
    ),
    "half a character": lambda c: c["model"]["vocab"].update({"\ud800": len(c["model"]["vocab"])}),
    "no vocabulary": lambda c: c["model"].pop("vocab"),
    "no model": lambda c: c.pop("model"),
    "a newer version": lambda c: c.update(version="2.0"),
    "another pre-tokenizer": lambda c: c.update(pre_tokenizer={"type": "Whitespace"}),
    "another normalizer": lambda c: c.update(normalizer={"type": "NFC"}),
    "added tokens": lambda c: c.update(added_tokens=[{"id": 0, "content": "x"}]),
    "another model": lambda c: c["model"].update(type="Unigram"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizer_file_is_refused_when_damaged_or_foreign(name, damage):
    text = damaged(name, DAMAGES[damage])
    for read in (load_tokenizer, TOKENIZERS[name].from_json):
        with pytest.raises(CheckpointError, match=r"^run/tokenizer\.json: ") as caught:
            read(text, "run/tokenizer.json")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "merges", [None, {}, [["a"]], [["a", "b", "c"]], [["qq", "qq"]], [[1, 2]], ["a b"]]
)
def test_byte_pair_file_is_refused_when_its_joins_are_damaged(merges):
    with pytest.raises(CheckpointError, match="is damaged"):
        load_tokenizer(damaged("bpe", lambda contents: contents["model"].update(merges=merges)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, "{}", '{"model": []}', "\0"]
)
def test_tokenizer_file_is_refused_when_it_is_not_one(text):
    with pytest.raises(CheckpointError, match=r"^tokenizer\.json: "):
        load_tokenizer(text)


def test_tokenizer_file_is_refused_when_it_is_of_another_kind():
    with pytest.raises(CheckpointError, match="not a tokenizer of kind 'char'"):
        TOKENIZERS["char"].from_json(fit("word").to_json())


@pytest.fixture
def shakespeare():
    path = Path(__file__).parents[1] / ".." / "shared" / "data" / "tinyshakespeare" / "input.txt"
    if not path.exists():
        pytest.skip("the shared data folder beside the checkout has no tinyshakespeare")
    return read_text(path)
