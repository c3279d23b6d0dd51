"""When a table is texts, words, sounds or images, and what is learnt of them."""

from __future__ import annotations

from collections.abc import Sequence

from unspool.data import roles
from unspool.data.recognised import Recognised, View, doubt, labels
from unspool.data.roles import Profile
from unspool.data.settings import DataSettings
from unspool.data.table import Table


def of_files(view: View, task: str) -> Recognised | None:
    """Paths of sounds or images, and what each is."""
    for path in view.of("sound", "image"):
        if view.settings.text not in (None, path.name):
            continue
        found = {"path": path.name} | view.shared()
        taken = tuple(found.values())
        what = "sounds" if path.kind == "sound" else "images"
        single, many, names = (
            ("listen", "transcribe", roles.TRANSCRIPTS)
            if path.kind == "sound"
            else ("see", "caption", roles.CAPTIONS)
        )
        if not view.labelled:
            chosen = task if task in (single, many) else single
            return Recognised(chosen, path.kind, f"{path.name} names {what}", found)
        others = [each for each in view.profiles if each.name not in taken]
        text = roles.find_named(others, names, ("text",))
        if text is None and path.kind == "sound":
            text = _transcript(others, names, view.settings, task == many)
        if text is None:
            long = [each for each in others if each.kind == "text" and each.words > 2]
            text = long[0].name if len(long) == 1 else None
        if view.settings.label is not None and task != many:
            text = None
        label, how = roles.find_label(others, view.settings, text)
        if task in ("auto", many) and text is not None and (label is None or task == many):
            role = "transcript" if path.kind == "sound" else "caption"
            reason = f"{path.name} names {what} and {text} holds a text for each"
            return Recognised(many, path.kind, reason, found | {role: text})
        if task in ("auto", single) and label is not None:
            warnings = doubt(how, label)
            reason = f"{path.name} names {what} and {label} {labels(view, label)}"
            return Recognised(
                single, path.kind, reason, found | {"label": label}, warnings=warnings
            )
    return None


def _transcript(
    others: Sequence[Profile], names: Sequence[str], settings: DataSettings, wanted: bool
) -> str | None:
    """A column of transcripts that are numbers, or single words: if they hardly recur.

    Args:
        others: columns that may be one.
        names: what such a column is called.
        settings: ``label`` names it where transcripts are wanted.
        wanted: whether they were asked for; then they may also recur, and have any name.
    """
    if wanted and settings.label is not None:
        return settings.label
    written = [each for each in others if each.kind in ("text", "class", "number", "date")]
    if not wanted:
        written = [each for each in written if not each.recurs]
    named = roles.find_named(written, names)
    if named is not None or not wanted:
        return named
    return roles.find_named(written, roles.LABELS) or (
        written[0].name if len(written) == 1 else None
    )


def of_classes(view: View, task: str) -> Recognised | None:
    """A class and a text for each, where captions are asked for."""
    others = view.of("text", "class", "number", "date")
    text = view.settings.label or roles.find_named(
        [each for each in others if each.name != view.settings.text], roles.CAPTIONS
    )
    left = [each for each in others if each.name != text]
    source = view.settings.text or (left[0].name if len(left) == 1 else None)
    if source is None or (text is None and view.labelled):
        return None
    found = {"text": source} | view.shared()
    if not view.labelled:
        return Recognised("caption", "text", f"{source} holds classes", found)
    reason = f"{text} holds a text for each {source}"
    return Recognised("caption", "text", reason, found | {"caption": str(text)})


def of_words(view: View, task: str) -> Recognised | None:
    """A list of tokens and a list of tags in each row."""
    lists = view.of("list")
    tokens, tags = view.settings.text, view.settings.label
    if len(lists) > 1 or (lists and not view.labelled):
        tokens = tokens or roles.find_named(lists, roles.TOKENS) or lists[0].name
        rest = [each for each in lists if each.name != tokens]
        tags = tags or roles.find_named(rest, roles.TAGS) or (rest[-1].name if rest else None)
    else:
        texts = view.of("text", "class")
        tokens = tokens or roles.find_named(texts, roles.TOKENS)
        tags = tags or roles.find_named(texts, roles.TAGS)
        if view.labelled and tokens and tags and not _as_many(view.table, tokens, tags):
            return None
    if tokens is None or (tags is None and view.labelled):
        return None
    if task != "tag" and not all(
        each is not None and (each.kind == "list" or lists == [])
        for each in (view.named(tokens), view.named(tags) if view.labelled else view.named(tokens))
    ):
        return None
    found = {"tokens": tokens} | view.shared()
    if not view.labelled:
        return Recognised("tag", "words", f"{tokens} holds words", found)
    reason = f"every word of {tokens} has its tag in {tags}"
    return Recognised("tag", "words", reason, found | {"tags": str(tags)})


def _as_many(table: Table, tokens: str, tags: str) -> bool:
    """Whether two columns of text have equally many words in most rows, several in some."""
    pairs = list(zip(table.column(tokens), table.column(tags), strict=True))[:1000]
    widths = [(len(str(a).split()), len(str(b).split())) for a, b in pairs]
    equal = sum(a == b for a, b in widths)
    return equal >= roles.MOST * len(widths) and max(a for a, _ in widths) > 1


def of_stars(view: View, task: str) -> Recognised | None:
    """Texts with stars."""
    text = roles.find_text(view.profiles, view.settings, view.settings.label or "")
    if text is None:
        return None
    found = {"text": text} | view.shared()
    if not view.labelled:
        return Recognised("rate", "text", f"{text} holds texts", found) if task == "rate" else None
    others = [each for each in view.profiles if each.name != text]
    stars = roles.find_stars(others, view.settings, view.table.named)
    if stars is None and task == "rate":
        stars = view.settings.label or _number(others, roles.LABELS)
    if stars is None:
        return None
    label, _ = roles.find_label(
        [each for each in others if each.name != stars], DataSettings(), text
    )
    each = view.named(stars)
    levels = f"{len(each.levels)} levels" if each is not None and each.levels else "numbers"
    reason = f"{text} holds texts and {stars} their stars ({levels})"
    if label is not None and task == "auto" and view.named(label).called(roles.LABELS):  # type: ignore[union-attr]
        reason += f"; to learn {label} instead: --task classify"
    return Recognised("rate", "text", reason, found | {"stars": stars})


def _number(found: Sequence[Profile], names: Sequence[str]) -> str | None:
    """A column of numbers: the one with such a name, or the only one."""
    numbers = [each for each in found if each.kind == "number"]
    named = roles.find_named(numbers, names)
    return named or (numbers[0].name if len(numbers) == 1 else None)


def of_labels(view: View, task: str) -> Recognised | None:
    """Texts with a label."""
    text = roles.find_text(view.profiles, view.settings, view.settings.label or "")
    if text is None:
        return None
    found = {"text": text} | view.shared()
    if not view.labelled:
        wanted = task in ("auto", "classify")
        return Recognised("classify", "text", f"{text} holds texts", found) if wanted else None
    label, how = roles.find_label(
        [each for each in view.profiles if each.name not in found.values()], view.settings, text
    )
    if label is None and task == "classify":
        label = roles.find_stars(view.profiles, view.settings, view.table.named)
        how = "named"
    if label is None or label == text:
        return None
    each = view.named(label)
    if task == "auto" and _is_pair(view, text, each):
        return None
    if task == "auto" and each is not None and each.kind == "text" and not _is_class(each):
        return None
    reason = f"{text} holds texts and {label} {labels(view, label)}"
    return Recognised(
        "classify", "text", reason, found | {"label": label}, warnings=doubt(how, label)
    )


def _is_pair(view: View, text: str, label: Profile | None) -> bool:
    """Whether both columns are named as a translation's, and the values are too many for classes.

    So that ``source`` and ``target`` are a pair, though many a table calls its labels ``target``.
    """
    read = view.named(text)
    named = read is not None and read.called(roles.SOURCES)
    return named and label is not None and label.called(roles.TARGETS) and not label.recurs


def _is_class(each: Profile) -> bool:
    """Whether a named label may be one, though its values hardly recur."""
    return each.words <= roles.CLASS_WORDS


def of_pairs(view: View, task: str) -> Recognised | None:
    """Two columns of text; where translating is asked for, the cells may be numbers and dates."""
    texts = view.of("text") if task != "translate" else view.of("text", "class", "number", "date")
    one = view.settings.text or roles.find_named(texts, roles.SOURCES)
    two = view.settings.label or roles.find_named(texts, roles.TARGETS)
    named = one is not None and two is not None and one != two
    if not named:
        if task != "translate" or len(texts) > 2:
            texts = [each for each in texts if not each.called(NO_PAIR)]
        enough = len(texts) == 2 or (len(texts) > 2 and not view.table.named)
        if view.labelled and not enough:
            return None
        if not view.labelled and not texts:
            return None
        one = one or texts[0].name
        two = two or next((each.name for each in texts if each.name != one), None)
    if not view.labelled:
        found = {"source": str(one)}
        reason = f"{one} holds texts"
        return Recognised("translate", "text", reason, found) if task == "translate" else None
    reason = f"{one} and {two} hold texts side by side"
    found = {"source": str(one), "target": str(two)} | view.shared()
    return Recognised("translate", "text", reason, found)


# Names of columns that hold no translation.
NO_PAIR = (*roles.NOT_READ, *roles.LABELS, *roles.STARS, *roles.GROUPS, *roles.SPLITS)
