"""The page of a study that asks why batch norm works."""

from importlib import resources

from markupsafe import Markup

from normscope.records import EvidenceTable, Study
from normscope.records._evidence_pictures import EvidencePictures
from normscope.report import _effects as effects
from normscope.report import _numbers as numbers
from normscope.report._command import explain_command, varied_fields
from normscope.report._conditions import again, data_facts, machine_facts, recipe_table
from normscope.report._evidence_figures import Shown, figures
from normscope.report._evidence_rows import LETTERS, claims
from normscope.report._evidence_summary import how_to_read, sentences
from normscope.report._evidence_words import told
from normscope.report._parts import (
    Claims,
    Facts,
    Key,
    Page,
    Part,
    Raw,
    Said,
    SaidTable,
    Scoreboard,
    Section,
    Stepper,
    Text,
)
from normscope.report._sweep import cells_table
from normscope.report._words import Words


def evidence_page(
    study: Study, evidence: EvidenceTable, pictures: EvidencePictures | None, say: Words
) -> Page:
    """The evidence, then every prediction with its pictures, then what it all rests on."""
    there = pictures or EvidencePictures(lines=(), curves=(), numbers=())
    shown = Shown(study, evidence, there, say)
    groups = claims(evidence, lambda key: figures(key, shown), say)
    confidence = say.share(evidence.confidence)
    board = Scoreboard(say("evidence"), groups)
    rows: list[Part] = [] if pictures else [Text(say("no pictures"))]
    rows.append(
        Claims(
            [
                Key(2, say("as predicted"), "predicted"),
                Key(1, say("against"), "against"),
                Key(5, say("strip key"), "tick"),
            ],
            groups,
        )
    )
    steppers = [p for _, some in groups for c in some for p in c.pictures if isinstance(p, Stepper)]
    if steppers:
        script = (resources.files(__package__) / "_stepper.js").read_text(encoding="utf-8")
        rows.append(Raw(Markup("<script>\n{}</script>").format(Markup(script))))  # noqa: S704
    return Page(
        kind=say("evidence page"),
        title=say("evidence title", data=evidence.data.name),
        subtitle=say(
            "evidence subtitle",
            arms=len(evidence.arms),
            rates=len(evidence.learning_rates),
            seeds=len(evidence.seeds),
            epochs=evidence.recipe.epochs,
            rows=f"{evidence.data.train_rows:,}",
        ),
        sections=[
            how_to_read(evidence, say),
            Section(
                "evidence", say("evidence"), [board], say("evidence lead", confidence=confidence)
            ),
            Section("rows", say("row by row"), rows, say("row by row lead")),
            _arms_section(evidence, say),
            _conditions_section(study, evidence, say),
        ],
        sentences=sentences(evidence, say),
        glossary=say("evidence glossary"),
    )


def _arms_section(evidence: EvidenceTable, say: Words) -> Section:
    """What was trained, what was not, and what the letters stand for."""
    trained = SaidTable(
        title=say("arms trained"),
        caption=say("arms trained caption"),
        head=[say("in formulas"), say("what it is"), say("in the study"), say("own best rate")],
        rows=[
            [
                Said(arm.key),
                told(arm.words, say),
                Said(arm.name),
                Said(
                    say("at the edge", rate=numbers.rate(arm.best_learning_rate))
                    if arm.at_the_edge
                    else numbers.rate(arm.best_learning_rate)
                ),
            ]
            for arm in evidence.arms
        ],
    )
    parts: list[Part] = [trained]
    if evidence.left_out:
        left_out = SaidTable(
            title=say("left out"),
            caption=say(
                "left out caption",
                budget=_time(evidence.budget_seconds, say),
                expected=_time(evidence.expected_seconds, say),
            ),
            head=[say("in formulas"), say("what it is"), say("reason")],
            rows=[
                [Said(arm.key), told(arm.words, say), told(arm.why, say)]
                for arm in evidence.left_out
            ],
        )
        parts.append(left_out)
    letters = [(letter, say(f"letter {letter}")) for letter in LETTERS]
    parts.append(Facts(title=say("letters"), pairs=letters))
    return Section("arms", say("arms and letters"), parts)


def _time(seconds: float, say: Words) -> str:
    """A time in words."""
    if seconds < 100:
        return say("some seconds", n=numbers.number(seconds, 0))
    if seconds < 5400:
        return say("some minutes", n=numbers.number(seconds / 60, 0))
    return say("some hours", n=numbers.number(seconds / 3600, 1))


def _conditions_section(study: Study, evidence: EvidenceTable, say: Words) -> Section:
    varied = varied_fields(study.design) | {"seed": list(study.design.seeds)}
    parts: list[Part] = [
        *([cells_table(study, say)] if study.analysis else []),
        *([effects.runs_table(study, say)] if study.runs else []),
        again(explain_command(evidence), say),
        recipe_table(study.design.recipe, say, varied=varied),
        data_facts(study.data, say),
        machine_facts(study.environment, say, evidence.notes),
    ]
    return Section("conditions", say("conditions"), parts)
