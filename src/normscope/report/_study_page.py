"""The page of a study."""

import math

from normscope.records import Inspected, Study
from normscope.report import _effects as effects
from normscope.report import _numbers as numbers
from normscope.report._command import compare_command, varied_fields
from normscope.report._conditions import again, data_facts, machine_facts, recipe_table
from normscope.report._curves import rate_curves, study_curves
from normscope.report._diagram import diagram
from normscope.report._inside import inside
from normscope.report._parts import Choice, Page, Part, Raw, Section, Sentences
from normscope.report._sweep import sweep
from normscope.report._verdict import verdict
from normscope.report._words import Words

_LOUD = 3
"""Sentences of the verdict that stand above everything; the others follow the first picture."""


def study_page(study: Study, say: Words) -> Page:
    """The page of a study; while it is still running, what is known so far."""
    sentences = verdict(study, say.language)
    sections = []
    if study.analysis:
        first: list[Part] = [sweep(study, say)]
        if len(sentences) > _LOUD:
            first.append(Sentences(say("rest of the verdict"), sentences[_LOUD:]))
        sections.append(Section("rates", say("rates"), first))
    sections += _letter_section(study, say)
    if study.analysis:
        sections += [_speed_section(study, say), *_accuracy_section(study, say)]
    sections += _inside_section(study, say)
    sections.append(_conditions_section(study, say))
    names = [arm.name for arm in study.design.arms]
    return Page(
        kind=say("study page"),
        title=say("study title", arms=say.listed(names), data=study.data.name),
        subtitle=_subtitle(study, say),
        sections=sections,
        sentences=sentences[:_LOUD] if study.analysis else sentences,
        glossary=say("study glossary"),
    )


def _subtitle(study: Study, say: Words) -> str:
    design = study.design
    planned = sum(len(design.rates_of(arm)) for arm in design.arms) * len(design.seeds)
    return say(
        "study subtitle",
        arms=len(design.arms),
        rates=len(design.learning_rates),
        seeds=len(design.seeds),
        ended=len(study.runs),
        planned=planned,
        epochs=say.listed([str(n) for n in sorted(set(map(design.epochs_of, design.arms)))]),
    )


def _letter_section(study: Study, say: Words) -> list[Section]:
    """The diagram, where there is an inside to follow a letter through."""
    seen = [
        (name, one.inspection) for name, one in _by_arm(study) if one.inspection.knows_every_layer
    ]
    if not seen:
        return []
    drawn = Raw(diagram(seen, study.data.classes, say.language))
    return [Section("letter", say("one letter"), [drawn], say("one letter lead"))]


def _by_arm(study: Study) -> list[tuple[str, Inspected]]:
    """The inspections with their arms' names, and the rate where it tells something."""
    runs = {run.folder: run for run in study.runs}
    named = []
    for one in study.inspections:
        run = runs.get(one.folder)
        name = f"{run.arm}, {numbers.rate(run.learning_rate)}" if run else one.folder
        named.append((name, one))
    return named


def _speed_section(study: Study, say: Words) -> Section:
    parts: list[Part] = [study_curves(study, say)]
    several = len(study.design.learning_rates) > 1
    if several and all(len(study.design.rates_of(arm)) > 1 for arm in study.design.arms):
        parts.append(rate_curves(study, say))
    if study.analysis and math.isfinite(study.analysis.target):
        parts.append(effects.steps_figure(study, say))
        parts += _present(effects.comparisons_table(study, "steps-to-target", say))
    return Section("speed", say("speed"), parts)


def _accuracy_section(study: Study, say: Words) -> list[Section]:
    parts = _present(
        effects.differences_figure(study, say),
        effects.comparisons_table(study, "test-accuracy", say),
        effects.mcnemar_table(study, say),
    )
    return [Section("differences", say("differences"), parts)] if parts else []


def _present(*parts: Part | None) -> list[Part]:
    return [part for part in parts if part is not None]


def _inside_section(study: Study, say: Words) -> list[Section]:
    named = _by_arm(study)
    if not named:
        return []
    classes = study.data.classes
    choices = [(name, inside(one.inspection, classes, say)) for name, one in named]
    picked: list[Part] = list(choices[0][1])
    if len(choices) > 1:
        picked = [Choice("arm", say("which arm"), choices)]
    return [Section("inside", say("inside"), picked, say("inside study lead"))]


def _conditions_section(study: Study, say: Words) -> Section:
    varied = varied_fields(study.design) | {"seed": list(study.design.seeds)}
    parts: list[Part] = [
        *([effects.runs_table(study, say)] if study.runs else []),
        again(compare_command(study.design), say),
        recipe_table(study.design.recipe, say, varied=varied),
        data_facts(study.data, say),
        machine_facts(study.environment, say, study.notes),
    ]
    return Section("conditions", say("conditions"), parts)
