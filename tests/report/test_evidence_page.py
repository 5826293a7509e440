"""The page of the evidence: every row, its verdict and its picture, in both languages."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from normscope import studies
from normscope.cli._app import app
from normscope.records import Recipe
from normscope.report import report_evidence
from normscope.report._command import explain_command
from normscope.report._evidence_words import CHINESE, told
from normscope.report._words import Words
from normscope.studies._explanations import ARMS, PREDICTIONS, PREMISES
from tests.report.evidence_samples import TRUTHS, WHY_LEFT_OUT, evidence
from tests.report.pages import Read, evidence_page
from tests.report.test_pages import HOSTILE, section_names
from tests.report.test_words import NAMES
from tests.studies.evidence import evidence as judged_rows

NO_PICTURE = {"one-shot", "variance-only", "mean-only", "last", "rival", "calm", "stale-end"}
"""Predictions about arms that the made-up study has left out, and of what the row alone shows."""


def article(page: str, key: str) -> str:
    (found,) = re.findall(f'<article id="row-{key}".*?</article>', page, re.DOTALL)
    return found


def test_the_page_has_its_parts() -> None:
    page = evidence_page()
    assert section_names(page) == ["reading", "evidence", "rows", "arms", "conditions"]
    text = Read(page).text
    for part in (
        "Explanations with a contradicted prediction: ", "The budget was 20 min", WHY_LEFT_OUT,
        "0.02, at the edge of the grid", "A note of the study's.", "Do it again",
    ):  # fmt: skip
        assert part in text, part


def test_every_row_is_there_with_its_verdict_and_why() -> None:
    _, table, _ = evidence()
    assert {row.judgement for row in table.rows} == {"survives", "contradicted", "not decided"}
    for row in table.rows:
        text = " ".join(Read(article(evidence_page(), row.key)).text.split())
        for said in (row.prediction, row.source, row.formula, row.judgement, row.why[1:]):
            assert said in text, said
        for premise in row.premises:
            says = "holds" if premise.holds else "is not found"
            assert f"{premise.formula} > 0 {says}" in text
        assert f"n = {row.effect.n} of 5 seeds" in text


def test_the_page_says_first_whether_there_is_a_gain_and_which_explanations_failed() -> None:
    study, table, pictures = evidence()
    (gain,) = (row for row in table.rows if row.key == "gain")
    says = {
        "survives": "Batch norm does learn faster here",
        "contradicted": "Batch norm does not learn faster here",
        "not decided": "Whether batch norm learns faster here is not decided",
    }
    for judgement, sentence in says.items():
        rows = (gain.model_copy(update={"judgement": judgement}), *table.rows[1:])
        page = report_evidence(study, table.model_copy(update={"rows": rows}), pictures)
        top = Read(page).text.split("How to read this page")[0]
        assert [other for other in says.values() if other in top] == [sentence]
    (against,) = re.findall(r"Explanations with a contradicted prediction: (.*)\.", top)
    failed = {row.explanation for row in table.rows if row.judgement == "contradicted"}
    assert {each.rsplit(" (", 1)[0] for each in against.split("; ")} == failed - {gain.explanation}


def test_a_row_explains_its_own_letters_and_arms() -> None:
    _, table, _ = evidence()
    for row in table.rows:
        names = re.findall("<dt>(.*?)</dt>", article(evidence_page(), row.key))
        formulas = "; ".join([row.formula, *(each.formula for each in row.premises)])
        letters = re.findall("([A-Z]\u2032?)\\(", formulas.replace("[L(batch)", "L(batch)"))
        arms = set(re.findall(r"\(([a-z0-9-]+)\)", formulas)) - {"batch", "none"}
        assert letters or row.key == "dose", row.key
        assert set(letters) | arms <= set(names), row.key
    assert "A" in re.findall("<dt>(.*?)</dt>", article(evidence_page(), "dose"))


def test_a_p_is_not_shown_where_a_premise_fails() -> None:
    study, table, pictures = evidence()
    (row,) = (row for row in table.rows if row.key == "noisy-end")
    for holds in (True, False):
        premises = tuple(each.model_copy(update={"holds": holds}) for each in row.premises)
        rows = (row.model_copy(update={"premises": premises}),)
        page = report_evidence(study, table.model_copy(update={"rows": rows}), pictures)
        assert ("p at the threshold" in page) == holds


def test_rows_have_pictures_and_those_without_their_arms_have_none() -> None:
    for key in (each.key for each in PREDICTIONS):
        figures = [tag for tag, _ in Read(article(evidence_page(), key)).tags if tag == "figure"]
        assert bool(figures) == (key not in NO_PICTURE), key


@pytest.mark.parametrize("key", ["drift", "smoothness", "safe-step"])
def test_where_no_script_runs_a_few_moments_are_seen(key: str) -> None:
    frames = [
        tag["class"].split()
        for tag in Read(article(evidence_page(), key)).all("div")
        if "frame" in (tag.get("class") or "").split()
    ]
    kept = sum("kept" in classes for classes in frames)
    assert 1 < kept <= 3 <= len(frames)
    assert "kept" in frames[0]
    assert "kept" in frames[-1]
    assert re.search('class="slider" hidden', article(evidence_page(), key))


def test_without_the_file_of_pictures_the_page_says_so() -> None:
    study, table, _ = evidence()
    page = report_evidence(study.model_copy(update={"inspections": ()}), table)
    assert "evidence-pictures.json is not in this folder" in Read(page).text
    assert "evidence-pictures.json" not in Read(evidence_page()).text
    assert "<figure" not in page
    assert 'class="strip"' in page


def test_words_of_a_record_are_shown_and_not_run() -> None:
    study, table, pictures = evidence()
    hostile = table.model_copy(
        update={
            "rows": (table.rows[0].model_copy(update={"prediction": HOSTILE, "why": HOSTILE}),),
            "notes": (HOSTILE,),
        }
    )
    read = Read(report_evidence(study, hostile, pictures))
    assert len(read.all("script")) == 0  # this one row has no slider
    assert HOSTILE in read.text


def recorded() -> set[str]:
    """Everything that `explain` can write, but for what it fills in."""
    said = {text for each in PREDICTIONS for text in (each.explanation, each.says)}
    said |= {each.words for each in PREMISES} | {arm.words for arm in ARMS}
    said |= {each.source for each in PREDICTIONS if re.search(r" \(|, ", each.source)}
    return said | {each.formula for each in PREDICTIONS if " the " in each.formula}


def test_everything_a_record_says_has_its_chinese() -> None:
    assert not recorded() - set(CHINESE)
    for english, chinese in CHINESE.items():
        assert re.search("[\u3000-\u9fff]", chinese), english
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", chinese)), english


def test_every_reason_of_a_row_has_its_chinese() -> None:
    for seeds in (1, 2, 5):
        for row in judged_rows(TRUTHS, seeds=seeds).values():
            said = told(row.why, Words("zh"))
            assert not row.why or re.search("[\u3000-\u9fff]", said.text), row.why
            assert not said.english
    assert told("a reason of another version", Words("zh")).english


def test_no_english_on_the_chinese_page() -> None:
    _, table, _ = evidence()
    seen = Read(evidence_page("zh"))
    typed = r"normscope explain [^\n]*|docs/\w+\.md|0f0f\w+|evidence-pictures\.json"
    words = {word.lower() for word in re.findall(r"[A-Za-z]{3,}", re.sub(typed, "", seen.text))}
    names = {part for arm in table.arms for part in re.findall("[a-z]+", arm.key + arm.name)}
    names |= {part for each in table.left_out for part in each.key.split("-")}
    names |= {part for name in Recipe.model_fields for part in name.split("_")}
    names |= set(re.findall("[a-z]+", table.environment.model_dump_json().lower()))
    names |= set(re.findall("[a-z]+", table.data.model_dump_json().lower()))
    names |= {part for row in table.rows for part in re.findall("[a-z]+", row.source.lower())}
    assert words - names <= NAMES | {"auto", "log"}  # a recipe's value; in a formula
    assert "A note of the study's." in seen.english


class CaughtError(Exception):
    """What `explain` was called with."""


def test_the_command_trains_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def explain(recipe: Recipe, **options: object) -> None:
        raise CaughtError(recipe, options)

    monkeypatch.setattr(studies, "explain", explain)
    _, table, _ = evidence()
    for recipe in (table.recipe, Recipe(hidden=(20, 10), epochs=100, seed=3)):
        asked = table.model_copy(update={"recipe": recipe, "confidence": 0.9})
        _, *words = shlex.split(explain_command(asked))
        done = CliRunner().invoke(app, [*words, "--format", "json"])
        assert isinstance(done.exception, CaughtError), done.output
        again, options = done.exception.args
        assert again == recipe
        assert options["arms"] == [arm.key for arm in table.arms]
        assert options["learning_rates"] == list(table.learning_rates)
        assert (options["seeds"], options["confidence"]) == (len(table.seeds), 0.9)
