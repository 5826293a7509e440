"""What a page is made of: sections of figures, tables and text, before they are HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """Figures for whoever wants them raw, or cannot see the picture."""

    title: str
    """What the table holds."""
    head: Sequence[str]
    """One name per column; the first column names the row."""
    rows: Sequence[Sequence[str]]
    """As they are shown; a row of one cell is a heading for those that follow."""
    open: bool = False
    """Shown at once, not only on demand."""
    caption: str = ""
    """What the figures are, under the title of an open table."""
    text: frozenset[int] = frozenset()
    """Columns, beside the first, that hold words and no figures."""


@dataclass(frozen=True)
class Key:
    """A line of a legend: how something is drawn, and what it is."""

    style: int
    """Which of the theme's colours, dashes and shapes, counted from 0."""
    text: str
    """What is drawn so."""
    kind: Literal[
        "line", "band", "point", "dot", "tick", "hollow", "dashed", "predicted", "against"
    ] = "line"
    """How."""


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    """What its height means; stands above it."""
    wide: Markup
    """The SVG."""
    narrow: Markup | None = None
    """Another one for phones; absent where the first is narrow enough."""


@dataclass(frozen=True)
class Figure:
    """Pictures that belong together, what they show, and their figures."""

    title: str
    caption: str
    panels: Sequence[Panel]
    keys: Sequence[Key] = ()
    tables: Sequence[Table] = ()
    columns: int = 2
    """How many panels stand side by side where there is room."""


@dataclass(frozen=True)
class Facts:
    """Names and what stands behind them."""

    title: str
    pairs: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()
    """Sentences of a record, in English."""


@dataclass(frozen=True)
class Text:
    """A paragraph; `quote` is what somebody else said, in English."""

    text: str
    quote: str = ""


@dataclass(frozen=True)
class Confusion:
    """Who was taken for whom: classes, rows of counts, and the commonest confusions."""

    title: str
    caption: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    commonest: Sequence[tuple[str, str, int]]
    """What it is, what it is taken for, how often."""
    table: bool
    """Whether all counts are shown; with very many classes the commonest have to do."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, and what it says to those who cannot see it."""

    image: str
    """A PNG in base64; empty where there is none."""
    row: str
    """What stands in the place of a picture that is not there."""
    label: str
    answer: str
    probability: str
    alternative: str


@dataclass(frozen=True)
class Gallery:
    """Small pictures side by side."""

    title: str
    caption: str
    thumbnails: Sequence[Thumbnail]


@dataclass(frozen=True)
class Raw:
    """HTML of our own making."""

    markup: Markup


@dataclass(frozen=True)
class Choice:
    """One of several things to look at; the reader picks."""

    name: str
    """What the choice is called in the page's own links; letters and digits."""
    title: str
    choices: Sequence[tuple[str, "Sequence[Part]"]]


@dataclass(frozen=True)
class Sentences:
    """Paragraphs under a heading."""

    title: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Said:
    """Words of a record, in the page's language or else in English."""

    text: str
    english: bool = False
    """Whether they are English on a page that is not."""


@dataclass(frozen=True)
class Frame:
    """Pictures of one moment."""

    step: int
    title: str
    panels: Sequence[Panel]
    kept: bool
    """Shown where no script runs; a few are enough there."""


@dataclass(frozen=True)
class Stepper:
    """Pictures of many moments, one of which is seen; a slider leads through them."""

    name: str
    """What the slider is called in the page."""
    title: str
    caption: str
    frames: Sequence[Frame]
    keys: Sequence[Key] = ()


@dataclass(frozen=True)
class Claim:
    """A prediction, and what became of it."""

    name: str
    """What links call it."""
    says: Said
    source: Said
    verdict: Literal["survives", "contradicted", "open"]
    judgement: str
    """The verdict in words."""
    measured: str
    """The figure with its interval."""
    predicted: str
    """Where it was predicted to be."""
    seeds: str
    """How many have it."""
    why: Said | None
    """Why it is not decided."""
    details: Sequence[tuple[str, Said]]
    """Names, and what stands behind them: what was measured, thresholds, premises."""
    strip: Markup | None
    """The interval between the thresholds."""
    pictures: Sequence[Figure | Stepper] = ()


@dataclass(frozen=True)
class Scoreboard:
    """Every prediction in a line, by what it follows from."""

    title: str
    groups: Sequence[tuple[Said, Sequence[Claim]]]


@dataclass(frozen=True)
class Claims:
    """Every prediction with its pictures, by what it follows from."""

    keys: Sequence[Key]
    groups: Sequence[tuple[Said, Sequence[Claim]]]


@dataclass(frozen=True)
class SaidTable:
    """A table whose cells are words of a record."""

    title: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Said]]


Part = (
    Table
    | Figure
    | Facts
    | Text
    | Confusion
    | Gallery
    | Raw
    | Choice
    | Sentences
    | Stepper
    | Scoreboard
    | Claims
    | SaidTable
)


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it."""

    name: str
    """What links call it."""
    title: str
    parts: Sequence[Part]
    lead: str = ""
    """What it is about, in a sentence or two."""


@dataclass(frozen=True)
class Headline:
    """A figure that is said first, and what it means."""

    value: str
    name: str
    meaning: str
    main: bool = False


@dataclass(frozen=True)
class Page:
    """Everything on a page."""

    kind: str
    """What kind of page it is, above the title."""
    title: str
    subtitle: str
    sections: Sequence[Section]
    sentences: Sequence[str] = ()
    """What it all comes to; the first is said loudest."""
    headlines: Sequence[Headline] = field(default=())
    glossary: str = ""
    """The words that a newcomer may not know, and where to read more."""
