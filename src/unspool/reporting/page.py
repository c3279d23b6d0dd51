"""Elements of a page; whatever is not an element already is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unspool.drawing.picture import STYLE, Picture, escaped


class Markup(str):
    """Text that is HTML already, so that it is not escaped again.

    Only `element` and `drawn` make it; everything else is text of somebody's data.
    """

    __slots__ = ()


def element(name: str, *inside: str, **attributes: str) -> Markup:
    """An element of HTML.

    Args:
        name: of the element.
        *inside: what stands in it; texts are escaped, elements are not.
        **attributes: by name, an underscore standing at the end of names that Python keeps.

    Example:
        >>> element("p", "a < b", element("b", "!"), class_="note")
        '<p class="note">a &lt; b<b>!</b></p>'
    """
    given = "".join(f' {key.rstrip("_")}="{escaped(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{_joined(inside)}</{name}>")


def drawn(*pictures: Picture) -> Markup:
    """Pictures that stand beside each other where there is room.

    Example:
        >>> drawn(Picture(1, 1, "a", "b", ()))[:24]
        '<div class="pictures"><f'
    """
    figures = (element("figure", Markup(each.svg(alone=False))) for each in pictures)
    return element("div", *figures, class_="pictures")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[int] = ()) -> Markup:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        heads: of the columns.
        rows: of cells, as many as heads.
        texts: columns of words; those of others are numbers and stand at the right.

    Example:
        >>> "<td>1</td>" in table(["n"], [["1"]])
        True
    """
    kinds = [{"class_": "text"} if place in texts else {} for place in range(len(heads))]
    head = element(
        "tr", *(element("th", *_cell(h), **k) for h, k in zip(heads, kinds, strict=True))
    )
    body = (
        element("tr", *(element("td", *_cell(c), **k) for c, k in zip(row, kinds, strict=True)))
        for row in rows
    )
    inside = element("table", element("thead", head), element("tbody", *body))
    return element("div", inside, class_="wide", tabindex="0")


def section(title: str, *inside: str) -> Markup:
    """A part of the page under a heading.

    Example:
        >>> section("Data", element("p", "12 rows"))
        '<section><h2>Data</h2><p>12 rows</p></section>'
    """
    return element("section", element("h2", title), *inside)


def listed(items: Iterable[str]) -> Markup:
    """A list of lines.

    Example:
        >>> listed(["a", "<b>"])
        '<ul><li>a</li><li>&lt;b&gt;</li></ul>'
    """
    return element("ul", *(element("li", *_cell(item)) for item in items))


def page(title: str, *inside: str) -> str:
    """A whole page, whose policy forbids scripts and anything from elsewhere.

    Example:
        >>> page("Report", element("p", "fine")).startswith("<!DOCTYPE html>")
        True
    """
    head = (
        Markup('<meta charset="utf-8"/>'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1"/>'),
        Markup('<meta name="color-scheme" content="light dark"/>'),
        element("title", title),
        element("style", Markup(STYLE + PAGE_STYLE)),
    )
    body = element("body", element("main", *inside))
    return f"<!DOCTYPE html>\n{element('html', element('head', *head), body, lang='en')}\n"


def _joined(inside: Iterable[str]) -> str:
    return "".join(each if isinstance(each, Markup) else escaped(each) for each in inside)


def _cell(text: str) -> tuple[str, ...]:
    """Text of somebody's data, which may run from right to left, kept apart from what is around."""
    return (text,) if isinstance(text, Markup) or text.isascii() else (element("bdi", text),)


POLICY = "default-src 'none'; style-src 'unsafe-inline'"
PAGE_STYLE = """
:root{--ink:#1f2937;--faint:#5b6472;--paper:#ffffff;--grid:#e2e5ea;--own:#1d4ed8;--code:#f4f5f7}
@media (prefers-color-scheme:dark){:root{--ink:#e5e7eb;--faint:#9ca3af;--paper:#16191f;
--grid:#374151;--own:#7cb0ff;--code:#1f242c}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.5rem 0 .5rem}
p{margin:.5rem 0;overflow-wrap:anywhere}
.faint,figcaption{color:var(--faint)}
.verdict{border-left:4px solid var(--own);padding:.25rem 0 .25rem .75rem;font-size:1.1rem}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:.5rem 0;flex:1 1 20rem;max-width:29rem;min-width:0}
.picture{width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;margin:.5rem 0}
th,td{text-align:right;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--grid);
font-variant-numeric:tabular-nums;vertical-align:top}
th{color:var(--faint);font-weight:500;overflow-wrap:normal}
td{white-space:nowrap}td.text{overflow-wrap:anywhere;white-space:normal}
.text{text-align:left;min-width:4rem}td:has(code){min-width:14rem}
pre,code{background:var(--code);font:13px/1.45 ui-monospace,monospace}
pre{padding:.75rem;overflow-x:auto;border-radius:4px}
summary{cursor:pointer;color:var(--own)}
@media print{summary{display:none}}
"""
