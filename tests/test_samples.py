import sys

import pytest

from unspool.data.opening import recognise_source
from unspool.data.samples import OWN_ENGLISH, SAMPLES, sample_text
from unspool.data.settings import DataSettings
from unspool.data.source import Source
from unspool.errors import ConfigError

PROSE = ("english", "sentiment", "stars", "tag")


@pytest.mark.parametrize("name", PROSE)
def test_sample_is_plain_text_long_enough_to_train_on(name):
    text = sample_text(name)
    assert len(text) > 30_000 and text.isascii()
    assert text == sample_text(name)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_recognised_as_the_task_it_shows(name):
    source = Source.of_sample(name, DataSettings())
    assert recognise_source(source, DataSettings()) == SAMPLES[name][0]


def test_english_holds_prose_and_repeats_no_paragraph():
    paragraphs = sample_text("english").rstrip("\n").split("\n\n")
    assert len(set(paragraphs)) == len(paragraphs)
    assert all(paragraph[0].isupper() for paragraph in paragraphs)
    assert not any(">>>" in paragraph or "::=" in paragraph for paragraph in paragraphs)


def test_english_is_our_own_when_python_carries_no_topics(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert sample_text("english") == OWN_ENGLISH
    assert 3_000 < len(OWN_ENGLISH) < 5_000 and OWN_ENGLISH.isascii()


def test_unknown_sample_is_an_error_with_the_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean 'english'"):
        sample_text("englisch")
