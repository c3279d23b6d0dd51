"""When a table is numbers: events in groups, sequences in rows, or series over time."""

from __future__ import annotations

from collections.abc import Sequence

from unspool.data import roles
from unspool.data.recognised import Recognised, View, doubt, labels
from unspool.data.table import Table


def of_events(view: View, task: str) -> Recognised | None:
    """Rows of numbers and categories, in groups, with a label for each row or each group."""
    group = roles.find_group(view.profiles, view.settings, ids=True)
    if view.of("text", "list", "sound", "image", without=[group, view.settings.label]):
        return None
    others = [each for each in view.profiles if each.name != group]
    rated = task == "rate" or (task == "auto" and view.settings.label is None)
    stars = roles.find_stars(others, view.settings, view.table.named) if rated else None
    label, how = (
        roles.find_label(others, view.settings, None) if stars is None else (stars, "named")
    )
    if not view.labelled:
        label = label if how == "named" else None
    elif label is None or (group is None and not _is_sure(view, label, how)):
        return None
    times = [each for each in others if each.called(roles.DATES) or each.kind == "date"]
    time = view.settings.time or (times[0].name if times else None)
    found = view.split() | ({"label": label} if label and view.labelled else {})
    taken = (group, label, time, *found.values())
    features = tuple(
        each.name
        for each in others
        if each.name not in taken and each.kind in ("number", "class") and each.filled
    )
    if not features:
        return None
    if group is None:
        return _of_number_rows(view, task, found, features, time, label)
    found = {"group": group} | ({"time": time} if time else {}) | found
    if not view.labelled:
        return Recognised(
            task if task != "auto" else "classify", "numbers", f"{group} groups rows", found,
            features,
        )  # fmt: skip
    constant = _constant_in(view.table, group, str(label))
    chosen = task if task != "auto" else ("rate" if stars else "classify") if constant else "tag"
    each = "all rows of a group have the same" if constant else "every row has its own"
    reason = f"{group} groups rows of {_counted(view, features)}, and {each} {label}"
    return Recognised(chosen, "numbers", reason, found, features, doubt(how, str(label)))


def _is_sure(view: View, label: str, how: str) -> bool:
    """Whether a column is a label rather than one more number of a series."""
    each = view.named(label)
    is_class = each is not None and each.kind == "class"
    return how == "named" or (how == "alone" and (is_class or not view.table.named))


def _of_number_rows(
    view: View,
    task: str,
    found: dict[str, str],
    features: tuple[str, ...],
    time: str | None,
    label: str | None,
) -> Recognised | None:
    """One sequence of numbers in each row, without groups."""
    numbers = all(each.kind == "number" for each in view.profiles if each.name in features)
    if time is not None or not numbers or len(features) < 2 or task == "tag":
        return None
    chosen = "classify" if task == "auto" else task
    if not view.labelled:
        return Recognised(chosen, "numbers", "rows of numbers, each a sequence", found, features)
    reason = (
        f"every row is a sequence of {len(features)} numbers, and {label} {labels(view, label)}"
    )
    return Recognised(chosen, "numbers", reason, found, features)


def of_vectors(view: View, task: str) -> Recognised | None:
    """Numbers and categories, and a text for each row of them, where captions are asked for."""
    if view.settings.text is not None or roles.find_group(view.profiles, view.settings):
        return None
    written = view.of("text", "class")
    text = view.settings.label or roles.find_named(written, roles.CAPTIONS)
    if text is None and view.labelled and len(view.of("text")) == 1:
        text = view.of("text")[0].name
    found = view.split()
    left = [each for each in view.profiles if each.name not in (text, *found.values())]
    # In a few rows to predict on, a category need not recur.
    kinds = ("number", "class") if view.labelled else ("number", "class", "text")
    features = tuple(each.name for each in left if each.kind in kinds and each.filled)
    several = len(features) > 1 and any(each.kind == "number" for each in left)
    if not several or len(features) < len(left) or (text is None and view.labelled):
        return None
    counted = _counted(view, features)
    if not view.labelled:
        return Recognised("caption", "numbers", f"rows of {counted}", found, features)
    reason = f"{text} holds a text for each row of {counted}"
    return Recognised("caption", "numbers", reason, found | {"caption": str(text)}, features)


def of_dates(view: View, task: str) -> Recognised | None:
    """Dates and numbers."""
    date = view.settings.time
    if date is None:
        dates = view.of("date") or [each for each in view.profiles if each.called(roles.DATES)]
        date = dates[0].name if dates else None
    numbers = view.of("number", without=[date])
    if view.settings.label is not None:
        numbers = [each for each in numbers if each.name == view.settings.label] + [
            each for each in numbers if each.name != view.settings.label
        ]
    if not numbers or (view.of("text", "list", "sound", "image") and task != "forecast"):
        return None
    if date is None and len(numbers) < len(view.profiles):
        return None
    found = {"date": date} if date is not None else {}
    group = view.settings.group or (date and _series_column(view, date))
    if group:
        found["group"] = group
    if view.settings.label is not None:
        found["label"] = view.settings.label
    names = tuple(each.name for each in numbers if each.name != group)
    if not names:
        return None
    many = f"{len(names)} columns of numbers" if len(names) > 1 else f"the numbers of {names[0]}"
    reason = f"{date} holds dates beside {many}" if date else f"{many}, one row after the other"
    if group:
        reason += f", a series for each {group}"
    return Recognised("forecast", "series", reason, found, names)


def _series_column(view: View, date: str) -> str | None:
    """The column that tells several series of a long table apart."""
    dates = view.table.column(date)
    if len(set(dates)) == len(dates):
        return None
    for each in view.of("class", "text", "number"):
        pairs = set(zip(dates, view.table.column(each.name), strict=True))
        if each.kind != "number" and len(pairs) >= roles.MOST * len(dates):
            return each.name
    return None


def _constant_in(table: Table, group: str, label: str) -> bool:
    """Whether the label is the same in all rows of every group."""
    seen: dict[object, object] = {}
    pairs = zip(table.column(group), table.column(label), strict=True)
    return all(seen.setdefault(one, value) == value for one, value in pairs)


def _counted(view: View, features: Sequence[str]) -> str:
    numbers = sum(each.kind == "number" for each in view.profiles if each.name in features)
    others = len(features) - numbers
    counts = ((numbers, "number", "numbers"), (others, "category", "categories"))
    return " and ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n)
