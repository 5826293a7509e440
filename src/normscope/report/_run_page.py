"""The page of a run."""

from normscope.records import Inspection, Run
from normscope.report import _numbers as numbers
from normscope.report._command import train_command
from normscope.report._conditions import again, data_facts, machine_facts, recipe_table
from normscope.report._curves import run_curves
from normscope.report._diagram import diagram
from normscope.report._inside import inside
from normscope.report._parts import Headline, Page, Part, Raw, Section, Text
from normscope.report._words import Words


def run_page(run: Run, inspection: Inspection | None, say: Words, *, why: str) -> Page:
    """The page of a run; `why` there is no inspection, in English."""
    sections = []
    if inspection and inspection.knows_every_layer:
        drawn = diagram([(run_name(run), inspection)], run.data.classes, say.language)
        sections.append(Section("letter", say("one letter"), [Raw(drawn)], say("one letter lead")))
    if run.epochs:
        sections.append(Section("learning", say("learning"), [run_curves(run, say)]))
    sections.append(_inside_section(run, inspection, say, why))
    parts: list[Part] = [
        again(train_command(run.recipe), say),
        recipe_table(run.recipe, say),
        data_facts(run.data, say),
        machine_facts(run.environment, say, run.notes),
    ]
    sections.append(Section("conditions", say("conditions"), parts))
    return Page(
        kind=say("run page"),
        title=say("run title", network=network_name(run, say), data=run.data.name),
        subtitle=say(
            "run subtitle",
            epochs=len(run.epochs),
            planned=run.recipe.epochs,
            rate=numbers.rate(run.recipe.learning_rate),
            seed=run.recipe.seed,
            rows=f"{run.data.train_rows:,}",
        ),
        sections=sections,
        sentences=_sentences(run, say),
        headlines=_headlines(run, say),
        glossary=say("run glossary"),
    )


def run_name(run: Run) -> str:
    """What the run is called among others."""
    return run.recipe.model or f"norm={run.recipe.norm}"


def network_name(run: Run, say: Words) -> str:
    """What was trained, in words."""
    return run.recipe.model or say(f"network {run.recipe.norm}")


def _inside_section(run: Run, inspection: Inspection | None, say: Words, why: str) -> Section:
    title, lead = say("inside"), say("inside lead")
    if inspection is None:
        return Section("inside", title, [Text(say("no inspection"), quote=why)])
    return Section("inside", title, inside(inspection, run.data.classes, say), lead)


def _sentences(run: Run, say: Words) -> list[str]:
    """What a run without a test has to say for itself."""
    if run.test:
        return []
    return [say(f"run is {run.status}", epochs=len(run.epochs), planned=run.recipe.epochs)]


def _headlines(run: Run, say: Words) -> list[Headline]:
    """Test accuracy under each kind of statistics; one figure where they are the same."""
    if run.test is None:
        return []
    several = run.test.running != run.test.population or run.test.running != run.test.batch
    kinds = ("running", "population", "batch") if several else ("running",)
    return [
        Headline(
            value=say.percentage(getattr(run.test, kind).accuracy),
            name=say(f"{kind} statistics") if several else say("test accuracy"),
            meaning=say(f"{kind} meaning") if several else say("no statistics meaning"),
            main=kind == "running",
        )
        for kind in kinds
    ]
