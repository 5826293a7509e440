"""The page's colours and typefaces, as CSS variables that everything on the page draws with.

============== ================================================================================
``--paper``     what everything lies on
``--surface``   a panel that has to stand out a little from the paper: a table's head, a control
``--ink``       text, and what is drawn first
``--muted``     secondary text, axes (still readable as text: 4.5 to 1 on paper and surface)
``--line``      hairlines, grids; never the only bearer of a meaning
``--accent``    links, the selected, the focus ring, and data where there is one kind of it
``--arm-1..6``  the arms of a study in the design's order, and categories such as train and
                validation; told apart by people with any kind of colour vision, 3 to 1 on paper
``--ok``        right, finite, reached
``--bad``       wrong, diverged, never reached
``--sans``      the system's typeface for text;  ``--mono`` for figures in code
============== ================================================================================

Both schemes define all of them, so that one drawing serves light and dark. Colour is never the only
difference: lines also differ by dashes (`DASHES`), points by shape (`SHAPES`), in the same order.
"""

LIGHT = {
    "paper": "#fdfcfa",
    "surface": "#f4f2ed",
    "ink": "#1d1c1a",
    "muted": "#615d56",
    "line": "#dcd8d0",
    "accent": "#0a5c9e",
    "arm-1": "#0069ab",
    "arm-2": "#c24e00",
    "arm-3": "#00815c",
    "arm-4": "#a8457f",
    "arm-5": "#8a6500",
    "arm-6": "#55524c",
    "ok": "#16704a",
    "bad": "#b02a1e",
}

DARK = {
    "paper": "#161617",
    "surface": "#212123",
    "ink": "#eceae5",
    "muted": "#aaa59c",
    "line": "#3b3a3c",
    "accent": "#7dbcf2",
    "arm-1": "#58aeea",
    "arm-2": "#f08a4b",
    "arm-3": "#3cc398",
    "arm-4": "#e296c3",
    "arm-5": "#dcb54c",
    "arm-6": "#c4c0b8",
    "ok": "#62cd98",
    "bad": "#ff8d80",
}

DASHES = ((), (6, 3), (2, 2), (9, 3, 2, 3), (12, 4), (4, 4))
"""An arm's line: on and off, in pixels; the first is whole."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""An arm's points, by Vega's names."""

_SANS = (
    '-apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", '
    '"PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif'
)
_MONO = 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace'


def variables() -> str:
    """The variables as CSS: light, and dark for readers whose system asks for it.

    Example:
        >>> "--arm-1: #0069ab;" in variables()
        True
    """
    both = f"--sans: {_SANS}; --mono: {_MONO};"
    dark = f":root {{ color-scheme: dark; {_declared(DARK)} }}"
    return (
        f":root {{ color-scheme: light; {both} {_declared(LIGHT)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}\n"
    )


def _declared(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
