"""The frame: parts become HTML by a template that escapes whatever it is handed."""

import base64
import hashlib
import re

import jinja2
from markupsafe import Markup

from normscope._version import __version__
from normscope.report import _parts, _svg
from normscope.report._parts import Key, Page
from normscope.report._theme import variables
from normscope.report._words import Words


def html(page: Page, say: Words) -> str:
    """The page as one file: its styles and pictures inside, and nothing that asks a network."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("normscope.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.tests["part"] = lambda part, kind: isinstance(part, getattr(_parts, kind))
    environment.globals.update(say=say, swatch=swatch, version=__version__, variables=variables)
    body = environment.get_template("body.html").render(page=page)
    return environment.get_template("page.html").render(
        page=page,
        body=Markup(body),  # noqa: S704 - the template escaped it
        policy=_policy(body),
        language={"en": "en", "zh": "zh-Hans"}[say.language],
    )


_SCRIPT = re.compile(r"<script(?![^>]*application/json)[^>]*>(.*?)</script>", re.DOTALL)


def _policy(body: str) -> str:
    """What the browser may do: show what is in the file, run our own scripts, ask nobody.

    Our scripts are known by their hashes; names of a user's are escaped and so cannot be among
    them.
    """
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in _SCRIPT.findall(body)
    ]
    scripts = " ".join(hashes) or "'none'"
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


_MARKS = {
    "circle": "M16 2.5a3.5 3.5 0 1 1 0 7a3.5 3.5 0 1 1 0-7Z",
    "square": "M12.8 2.8h6.4v6.4h-6.4Z",
    "triangle-up": "M16 2l4 7.2h-8Z",
    "diamond": "M16 1.6l4 4.4l-4 4.4l-4-4.4Z",
    "cross": "M14.8 2h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8Z",
    "triangle-down": "M16 10l-4-7.2h8Z",
}


def swatch(key: Key, *, line_mark: bool) -> Markup:
    """How something is drawn, as a small picture beside its name; with the points on its line."""
    colour, dashes = _svg.colour(key.style), " ".join(map(str, _svg.dash(key.style)))
    mark = Markup('<path d="{}" fill="{}"/>').format(_MARKS[_svg.shape(key.style)], colour)
    stroke = Markup('<path d="M1 6h30" stroke="{}" stroke-width="2.25" stroke-dasharray="{}"/>')
    drawn = {
        "line": stroke.format(colour, dashes) + (mark if line_mark else Markup()),
        "band": Markup('<path d="M1 1h30v10h-30Z" fill="{0}" opacity=".2"/>').format(colour)
        + Markup('<path d="M1 6h30" stroke="{}" stroke-width="2"/>').format(colour),
        "point": mark,
        "dashed": stroke.format(colour, "4 3"),
        "dot": Markup('<circle cx="16" cy="6" r="2.2" fill="{}"/>').format(colour),
        "tick": Markup('<path d="M16 0v12" stroke="{}" stroke-width="1.5"/>').format(colour),
        "hollow": Markup(
            '<circle cx="16" cy="6" r="5" fill="none" stroke="{}" stroke-width="1.5"/>'
        ).format(colour),
        "predicted": Markup('<path d="M1 1h30v10h-30Z" fill="var(--ok)" opacity=".2"/>')
        + Markup('<path d="M31 1v10" stroke="var(--ok)" stroke-width="1.5"/>'),
        "against": Markup('<path d="M1 1h30v10h-30Z" fill="var(--bad)" opacity=".2"/>')
        + Markup(
            '<path d="M1 1v10" stroke="var(--bad)" stroke-width="1.5" stroke-dasharray="4 3"/>'
        ),
    }[key.kind]
    return Markup('<svg class="swatch" viewBox="0 0 32 12" aria-hidden="true">{}</svg>').format(
        drawn
    )
