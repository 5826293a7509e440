"""The catalogue: both languages say the same things, and the Chinese page is Chinese."""

import re
from pathlib import Path

import pytest

import normscope.report
from normscope.records import Recipe
from normscope.report._words import CATALOGUE, Words
from tests.report import samples
from tests.report.pages import Read, run_page, study_page

ROOM = Path(normscope.report.__file__).parent
SOURCES = [
    path
    for path in [*ROOM.glob("_*.py"), *ROOM.glob("templates/*.html")]
    if not path.name.startswith(("_diagram", "_verdict"))
]


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def test_both_languages_say_the_same() -> None:
    for key, (english, chinese) in CATALOGUE.items():
        assert placeholders(english) == placeholders(chinese), key
        assert re.search("[\u3000-\u9fff\uff00-\uffef]", chinese), key
        assert not re.search("[\u3000-\u9fff\uff00-\uffef]", english), key


def asked_for() -> list[str]:
    """The strings in the sources, as patterns: what an f-string fills in may be anything."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    found = re.findall(r'(f?)"([^"\n]+)"', text) + re.findall(r"(f?)'([^'\n]+)'", text)
    return [re.sub(r"\\{.*?\\}", ".+", re.escape(key)) if f else re.escape(key) for f, key in found]


def test_no_words_are_left_over() -> None:
    patterns = [
        re.compile(pattern) for pattern in set(asked_for()) if re.search("[a-z]{3}", pattern)
    ]
    idle = [key for key in CATALOGUE if not any(p.fullmatch(key) for p in patterns)]
    assert not idle
    assert not any(p.fullmatch("no such words") for p in patterns)


def test_every_field_of_the_recipe_is_explained() -> None:
    say = Words("zh")
    assert all(say(f"recipe {name}") for name in Recipe.model_fields)


NAMES = {
    "normscope", "letters", "norm", "batch", "none", "adam", "relu", "holm", "mcnemar", "nat",
    "pytorch", "numpy", "python", "linux", "cpu", "ghz", "processor", "max", "beta", "gamma",
    "scaled", "plain", "population", "exponential", "false", "true",
}  # fmt: skip
"""What is called the same in Chinese: products, people, and values as they stand in a recipe."""


@pytest.mark.parametrize("page", [run_page, study_page])
def test_no_english_on_the_chinese_page(page) -> None:
    seen = Read(page("zh"))
    fields = {part for name in Recipe.model_fields for part in name.split("_")}
    made_up = set(re.findall("[a-z]+", samples.ENVIRONMENT.model_dump_json().lower()))
    typed = rf"{samples.data().fingerprint}|normscope (train|compare) [^\n]*|docs/report\.md"
    words = set(re.findall(r"[A-Za-z]{3,}", re.sub(typed, "", seen.text)))
    assert {word.lower() for word in words} <= NAMES | fields | made_up
    assert "held out for validation" in seen.english  # a record's own note, marked as English


def test_the_english_page_would_be_caught() -> None:
    assert "validation" in Read(run_page("en")).text
