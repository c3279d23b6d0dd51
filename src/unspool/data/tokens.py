"""The table of tokenizers, and the way in: learn one from a text, or read one from a run."""

from __future__ import annotations

from unspool.data.byte_pairs import FRAME as BYTE_PAIR_FRAME
from unspool.data.byte_pairs import BytePairTokenizer
from unspool.data.characters import FRAME as CHARACTER_FRAME
from unspool.data.characters import CharacterTokenizer
from unspool.data.settings import DataSettings
from unspool.data.tokenizer import Tokenizer, matches, parse_json
from unspool.data.words import FRAME as WORD_FRAME
from unspool.data.words import WordTokenizer
from unspool.errors import CheckpointError, choose

TOKENIZERS: dict[str, type[Tokenizer]] = {
    "char": CharacterTokenizer,
    "word": WordTokenizer,
    "bpe": BytePairTokenizer,
}
FRAMES = {"char": CHARACTER_FRAME, "word": WORD_FRAME, "bpe": BYTE_PAIR_FRAME}


def fit_tokenizer(text: str, settings: DataSettings) -> Tokenizer:
    """Learn the tokenizer that ``settings.tokens`` names.

    Args:
        text: what to learn from; for characters all of the text, so that the validation part
            holds no unknown one; otherwise the training part.
        settings: kind, size and lower-casing.

    Raises:
        DataError: if ``text`` is empty or holds a lone surrogate.

    Example:
        >>> fit_tokenizer("To be", DataSettings(lower=True)).vocabulary
        [' ', 'b', 'e', 'o', 't']
    """
    return choose(settings.tokens, TOKENIZERS, "data.tokens").fit(text, settings)


def load_tokenizer(text: str, where: str = "tokenizer.json") -> Tokenizer:
    """The tokenizer that a ``tokenizer.json`` of ours holds, whichever kind it is.

    Args:
        text: the contents of the file.
        where: its path, for the message.

    Raises:
        CheckpointError: if it is damaged, from another version, or not ours.

    Example:
        >>> tokenizer = fit_tokenizer("hello", DataSettings())
        >>> load_tokenizer(tokenizer.to_json()).vocabulary
        ['e', 'h', 'l', 'o']
    """
    contents = parse_json(text, where)
    for name, frame in FRAMES.items():
        if matches(contents, frame):
            return TOKENIZERS[name].from_json(text, where)
    raise CheckpointError(
        f"{where}: is a tokenizer, but not one that Unspool wrote; wanted kind "
        f"{', '.join(TOKENIZERS)}."
    )
