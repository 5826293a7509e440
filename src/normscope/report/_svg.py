"""Altair's charts as SVG for a page: one image to a screen reader, our colours, no ids."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import altair as alt
import vl_convert
from markupsafe import Markup

from normscope.report._theme import DASHES, SHAPES

WIDE = 760
"""As wide as the column of text."""
NARROW = 370
"""Half of it; about as wide as a phone."""

_SVG = "http://www.w3.org/2000/svg"
ET.register_namespace("", _SVG)
_COLOURS = 6
_CONFIG = {
    "aria": False,
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--line)",
        "labelColor": "var(--muted)",
        "labelFontSize": 12,
        "labelPadding": 6,
        "titleColor": "var(--muted)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 6,
    },
    "axisX": {"grid": False, "domain": True, "domainColor": "var(--line)", "titleAnchor": "end"},
}


def colour(style: int) -> str:
    """The colour of the arm (or category) of this number, as CSS."""
    return f"var(--arm-{style % _COLOURS + 1})"


def dash(style: int) -> Sequence[int]:
    """Its dashes. Past six, colours meet other dashes."""
    return DASHES[(style + style // _COLOURS) % len(DASHES)]


def shape(style: int) -> str:
    """The shape of its points."""
    return SHAPES[(style + style // _COLOURS) % len(SHAPES)]


def chart(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart of these rows; no pandas."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def coloured(count: int) -> alt.Color:
    """Field ``arm`` as a colour; arms are numbers, so that no name of a user's enters the SVG."""
    scale = alt.Scale(domain=list(range(count)), range=[colour(number) for number in range(count)])
    return alt.Color("arm:N", legend=None, scale=scale)


def dashed(count: int) -> alt.StrokeDash:
    """Field ``arm`` as dashes."""
    dashes = [list(dash(number)) or [1, 0] for number in range(count)]
    return alt.StrokeDash(
        "arm:N", legend=None, scale=alt.Scale(domain=list(range(count)), range=dashes)
    )


def shaped(count: int) -> alt.Shape:
    """Field ``arm`` as a shape."""
    shapes = [shape(number) for number in range(count)]
    return alt.Shape("arm:N", legend=None, scale=alt.Scale(domain=list(range(count)), range=shapes))


def svg(
    drawn: alt.Chart | alt.LayerChart | alt.FacetChart, *, label: str, width: int, height: int
) -> Markup:
    """The chart as an ``<svg>`` of these proportions that a screen reader announces as `label`."""
    spec = drawn.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    ).to_dict(validate=False)
    spec["config"] = _CONFIG
    spec["padding"] = {"left": 1, "right": 8, "top": 6, "bottom": 1}
    root = ET.fromstring(vl_convert.vegalite_to_svg(json.dumps(spec)))  # noqa: S314 - our own
    _strip(root)
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "role": "img",
        "aria-label": label,
        "class": "chart",
    }
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - ET escapes


_UNSAID = ("class", "role", "aria-roledescription", "aria-hidden", "pointer-events", "font-family")
_LONG_NUMBER = re.compile(r"(\.\d{2})\d+")


def _strip(element: ET.Element) -> None:
    """Take away what draws nothing, and what is said once for the whole image."""
    for child in list(element):
        bare = child.get("class") == "background" and not {"fill", "stroke"} & set(child.attrib)
        silent = child.tag == f"{{{_SVG}}}text" and (child.get("opacity") == "0" or not child.text)
        if bare or silent or child.get("display") == "none":
            element.remove(child)
            continue
        _strip(child)
        for name in _UNSAID:
            child.attrib.pop(name, None)
        if child.get("opacity") == "1":
            del child.attrib["opacity"]
        for name in {"d", "transform", "x2", "y2"} & set(child.attrib):
            child.set(name, _LONG_NUMBER.sub(r"\1", child.attrib[name]))
        if child.tag == f"{{{_SVG}}}g" and not len(child):
            element.remove(child)
