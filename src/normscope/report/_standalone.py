"""A chart of a page as a file of its own, for pages that are no HTML."""

import re
from collections.abc import Iterator, Sequence

from normscope.report._theme import LIGHT

_LINE, _LETTER, _GAP = 22, 7.2, 18
"""In pixels: the height of a legend's line, the width of a letter, the space between two names."""
_MARKS = ("●", "■", "▲", "◆", "✚", "▼")

_Entry = tuple[str, str]
"""A text, and the variable of its colour."""


def standalone(chart: str, *, title: str = "", names: Sequence[str] = ()) -> str:
    """An ``<svg>`` that needs no style sheet: in light colours, with its legend above it.

    Args:
        chart: as `svg` draws it.
        title: what its height, or its width, means.
        names: of the arms, in the order of their colours.

    Example:
        >>> standalone('<svg viewBox="0 0 9 9"></svg>')[:39]
        '<svg width="9" font-family="sans-serif"'
    """
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', chart)
    assert found, "a chart of ours has a size"
    width, height = map(int, found.groups())
    lines = list(_lines(title, names, width))
    top = -_LINE * len(lines) - 8 * bool(lines)
    box = f'viewBox="0 {top} {width} {height - top + 6}"'
    chart = chart.replace(found[0], box)
    chart = chart.replace("<svg", f'<svg width="{width}" font-family="sans-serif"', 1)
    paper = f'<rect y="{top}" width="100%" height="100%" fill="var(--paper)"/>'
    chart = re.sub(r"(<svg[^>]*>)", rf"\1{paper}", chart, count=1)
    legend = "".join(_text(line, top + _LINE * (at + 1)) for at, line in enumerate(lines))
    chart = chart.replace("</svg>", f"{legend}</svg>")
    for variable, colour in LIGHT.items():
        chart = chart.replace(f"var(--{variable})", colour)
    return chart


def _lines(title: str, names: Sequence[str], width: int) -> Iterator[list[_Entry]]:
    """What is drawn, and the arms' marks and names: as many to a line as fit."""
    marked = [f"{mark} {name}" for mark, name in zip(_MARKS, names, strict=False)]
    entries = [(title, "ink")] if title else []
    entries += [(text, f"arm-{at}") for at, text in enumerate(marked, start=1)]
    line: list[_Entry] = []
    for entry in entries:
        if line and sum(len(text) * _LETTER + _GAP for text, _ in [*line, entry]) > width:
            yield line
            line = []
        line.append(entry)
    if line:
        yield line


def _text(line: Sequence[_Entry], y: float) -> str:
    """A line of the legend."""
    spans = [
        f'<tspan fill="var(--{ink})" dx="{_GAP if at else 0}">{text}</tspan>'
        for at, (text, ink) in enumerate(line)
    ]
    return f'<text x="2" y="{y}" font-size="14">{"".join(spans)}</text>'
