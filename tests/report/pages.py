"""Pages to test, drawn once, and a reader for them."""

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

from normscope.report import report_evidence, report_run, report_study
from tests.report import evidence_samples, samples

SMALL = (40, 30, 10)
VOID = {"meta", "link", "img", "input", "br", "hr", "path"}


@cache
def run_page(language: str = "en") -> str:
    return report_run(samples.run(), samples.inspection(widths=SMALL), language)


@cache
def study_page(language: str = "en") -> str:
    return report_study(small_study(), language)


@cache
def evidence_page(language: str = "en") -> str:
    return report_evidence(*evidence_samples.evidence(), language)


def small_study(**changed):
    """Two arms, two rates, three seeds, small layers: nothing is missing, and it is quick."""
    return samples.study(**({"rates": (0.003, 0.03), "seeds": 3, "widths": SMALL} | changed))


@dataclass
class Read(HTMLParser):
    """A page's tags, and the text that a person sees, by the language that it is said to be in."""

    page: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    english: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, bool]] = []
        self.feed(self.page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        for name in ("aria-label", "alt", "title"):
            self.text += f" {dict(attrs).get(name) or ''} "
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("lang") == "en" and tag != "html"))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = {tag for tag, _ in self._open}
        if inside & {"style", "script"}:
            return
        if "title" in inside:
            self.title += data
        if any(english for _, english in self._open):
            self.english += f" {data}"
        else:
            self.text += f" {data}"

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]
