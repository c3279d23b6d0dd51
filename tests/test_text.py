import codecs
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unspool.data.settings import TOKENS, DataSettings
from unspool.data.text import printable, read_text, split_text
from unspool.errors import ConfigError, DataError

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "input.txt"


def refusal(path, encoding="utf-8"):
    """The one line a file is refused with."""
    with pytest.raises(DataError) as caught:
        read_text(path, encoding)
    message = str(caught.value)
    assert "\n" not in message and "\r" not in message
    assert message.startswith(printable(path))
    return message


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_text_comes_back_exactly_when_marked_or_plain(file, start, encoding):
    text = "one\r\ntwo\rthree\nnaïve → 𝄞 \u2028 end"
    file.write_bytes(start + text.encode(encoding))
    assert read_text(file) == text


@given(text=ANY_TEXT)
def test_any_text_comes_back_exactly_or_is_called_binary(file, text):
    file.write_bytes(b"plain words before it " * 20 + text.encode())
    assert read_text(file) == "plain words before it " * 20 + text


@given(data=st.binary(), encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "latin-1"]))
@example(data=b"\xff\xfe\x00\xd8", encoding="utf-8")
@example(data=b"\xef\xbb\xbf", encoding="utf-8")
@example(data=b"\xff\xfe", encoding="utf-16")
def test_random_bytes_give_text_or_one_line(file, data, encoding):
    file.write_bytes(data)
    try:
        text = read_text(file, encoding)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert text and "\0" not in text
        text.encode("utf-8")


@pytest.mark.parametrize(
    "encoding", ["utf-7", "unicode_escape", "undefined", "idna", "punycode", "shift_jis", "cp1252"]
)
@given(data=st.binary(min_size=1))
@pytest.mark.filterwarnings("ignore:.*invalid:DeprecationWarning")
def test_random_bytes_give_text_or_one_line_in_rare_encodings(file, encoding, data):
    file.write_bytes(data)
    try:
        read_text(file, encoding).encode("utf-8")
    except DataError as error:
        assert "\n" not in str(error)


def test_file_that_is_missing_is_named_with_its_neighbour(tmp_path):
    (tmp_path / "input.txt").write_text("text")
    message = refusal(tmp_path / "imput.txt")
    assert "no such file" in message and "Did you mean" in message and "input.txt" in message
    assert "is not there either" in refusal(tmp_path / "nowhere" / "input.txt")
    assert "part of its path is a file" in refusal(tmp_path / "input.txt" / "more.txt")


def test_file_is_refused_when_empty(file):
    for nothing in (b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE):
        file.write_bytes(nothing)
        assert "is empty" in refusal(file)


def test_folder_and_device_are_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path)
    if Path("/dev/zero").exists():
        assert "is a device" in refusal(Path("/dev/zero"))


def test_file_is_refused_when_binary(file):
    file.write_bytes(b"one\ntwo\0three")
    assert "byte 7 (line 2) is zero" in refusal(file)
    file.write_bytes(bytes(range(1, 32)) * 3)
    assert "control characters" in refusal(file)
    file.write_bytes("one\ntwo\0".encode("utf-16"))
    assert "character 7 (line 2) is NUL" in refusal(file)


@pytest.mark.parametrize("start", [b"\x1f\x8b", b"PK\x03\x04", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n"])
def test_file_is_named_for_what_it_is_when_its_format_is_known(file, start):
    file.write_bytes(start + b"rest")
    assert "not text; unpack or export" in refusal(file)


def test_half_a_character_is_refused_when_the_encoding_lets_it_through(file):
    file.write_bytes(b"one +2AA- two")
    assert "lone surrogate U+D800" in refusal(file, "utf-7")


def test_coloured_terminal_output_is_text(file):
    file.write_text("\x1b[31mred\x1b[0m\tand\fpages")
    assert read_text(file) == "\x1b[31mred\x1b[0m\tand\fpages"


@pytest.mark.parametrize(("mark", "offset"), [(b"", 9), (codecs.BOM_UTF8, 12)])
def test_invalid_utf8_is_refused_with_byte_and_line(file, mark, offset):
    file.write_bytes(mark + b"one\r\ntwo\n\xe9t\xe9")
    message = refusal(file)
    assert f"byte {offset} (line 3)" in message and "e9 74 e9" in message
    assert "--data.encoding latin-1" in message
    assert read_text(file, "latin-1").endswith("été")


def test_invalid_utf16_is_refused_with_byte_and_line(file):
    file.write_bytes(codecs.BOM_UTF16_LE + "a\nb".encode("utf-16-le") + b"\x00\xdc")
    assert "byte 8 (line 2)" in refusal(file)


def test_file_is_refused_when_it_may_not_be_read(file, monkeypatch):
    file.write_text("text")

    def refuse(error):
        def read(path):
            raise error

        return read

    monkeypatch.setattr(Path, "read_bytes", refuse(PermissionError(13, "Permission denied")))
    assert "may not be read" in refusal(file)
    monkeypatch.setattr(Path, "read_bytes", refuse(OSError(5, "Input/output error")))
    assert "cannot be read: Input/output error" in refusal(file)


def test_path_that_no_file_can_have_is_refused(tmp_path):
    assert "cannot be read" in refusal(tmp_path / ("long" * 500))
    assert "cannot be read" in refusal(tmp_path / "a\0b")
    refusal(tmp_path / "two\nlines")


@pytest.mark.parametrize("encoding", ["utf8000", "hex", "rot13"])
def test_encoding_is_refused_when_it_does_not_give_text(file, encoding):
    file.write_text("abcd")
    with pytest.raises(ConfigError, match=r"data\.encoding"):
        read_text(file, encoding)
    with pytest.raises(ConfigError, match=r"data\.encoding"):
        DataSettings(encoding=encoding)


def test_split_is_by_position_as_a_share_from_the_front(shakespeare):
    train, validation = split_text(shakespeare, 0.9)
    assert (len(train), len(validation)) == (1_003_854, 111_540)
    assert train + validation == shakespeare


@given(text=st.text(min_size=2), share=st.floats(0.01, 0.99))
def test_split_loses_nothing_or_refuses(text, share):
    try:
        train, validation = split_text(text, share)
    except DataError as error:
        assert "leave nothing to" in str(error)
    else:
        assert train and validation and train + validation == text


def test_settings_name_every_problem_at_once():
    with pytest.raises(ConfigError) as caught:
        DataSettings(tokens="chars", split=1.0, encoding="nothing")
    message = str(caught.value)
    assert "Did you mean 'char'?" in message
    assert "data.split: got 1.0" in message and "data.encoding" in message


@pytest.mark.parametrize(("tokens", "vocabulary"), [("bpe", 255), ("word", 1)])
def test_settings_refuse_a_vocabulary_that_is_too_small(tokens, vocabulary):
    with pytest.raises(ConfigError, match=r"data\.vocabulary"):
        DataSettings(tokens=tokens, vocabulary=vocabulary)
    assert DataSettings(tokens=tokens, vocabulary=vocabulary + 1).tokens in TOKENS


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_settings_refuse_a_split_that_leaves_a_part_empty(share):
    with pytest.raises(ConfigError, match=r"data\.split"):
        DataSettings(split=share)


@pytest.fixture
def shakespeare():
    return shared_text("tinyshakespeare/input.txt")


def shared_text(name):
    path = Path(__file__).parents[1] / ".." / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"the shared data folder beside the checkout has no {name}")
    return read_text(path)
