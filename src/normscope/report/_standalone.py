"""A chart of a page as a file of its own, for pages that are no HTML."""

import re
from collections.abc import Sequence

from normscope.report._theme import LIGHT

_ROOM = 32
_MARKS = ("●", "■", "▲", "◆", "✚", "▼")


def standalone(chart: str, *, title: str = "", names: Sequence[str] = ()) -> str:
    """An ``<svg>`` that needs no style sheet: in light colours, with its legend above it.

    Args:
        chart: as `svg` draws it.
        title: what its height, or its width, means.
        names: of the arms, in the order of their colours.

    Example:
        >>> standalone('<svg viewBox="0 0 9 9"><path fill="var(--ink)"/></svg>')[:44]
        '<svg width="9" style="background:#fdfcfa" fo'
    """
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', chart)
    assert found, "a chart of ours has a size"
    width, height = map(int, found.groups())
    room = _ROOM if title or names else 0
    box = f'viewBox="0 {-room} {width} {height + room + 6}"'
    size = f'width="{width}" style="background:{LIGHT["paper"]}" font-family="sans-serif"'
    chart = chart.replace(found[0], box).replace("<svg", f"<svg {size}", 1)
    chart = chart.replace("</svg>", f"{_legend(title, names)}</svg>")
    for variable, colour in LIGHT.items():
        chart = chart.replace(f"var(--{variable})", colour)
    return chart


def _legend(title: str, names: Sequence[str]) -> str:
    """What is drawn, and the arms' marks and names, in one line."""
    texts = [title, *(f"{mark} {name}" for mark, name in zip(_MARKS, names, strict=False))]
    inks = ["ink", *(f"arm-{at + 1}" for at in range(len(names)))]
    spans = [
        f'<tspan fill="var(--{ink})" dx="{18 if at else 0}">{text}</tspan>'
        for at, (text, ink) in enumerate(zip(texts, inks, strict=True))
        if text
    ]
    return f'<text x="2" y="-12" font-size="14">{"".join(spans)}</text>' if spans else ""
