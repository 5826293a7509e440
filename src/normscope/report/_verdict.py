"""The verdict: what a study found, in sentences that a referee would accept."""

import math
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Literal

from normscope.records import Analysis, Recipe, Study
from normscope.report._numbers import rate
from normscope.report._verdict_arm import ArmVerdict
from normscope.report._verdict_words import Say


def verdict(study: Study, language: Literal["en", "zh"] = "en") -> list[str]:
    """What a study found, in a few sentences, the most important first.

    Every effect comes with its interval and its n; what is a bound is called one; that no
    difference was found is said together with what is excluded. The words follow from the study's
    design and its `Analysis` alone: `docs/statistics.md`.

    Args:
        study: complete or not.
        language: ``en`` or ``zh``.

    Returns:
        One sentence or a few per entry, without markup.
    """
    say = Say(language)
    design, analysis = study.design, study.analysis
    if analysis is None:
        planned = len(design.seeds) * sum(len(design.rates_of(arm)) for arm in design.arms)
        return [say("running", ended=len(study.runs), planned=planned)]
    others = [arm for arm in design.arms if arm.name != design.reference]
    sentences = [] if others else [say("alone", arm=design.reference)]
    for arm in others:
        sentences += ArmVerdict(study, analysis, arm, say).sentences()
    if others and math.isnan(analysis.target):
        sentences.append(say("no target", reference=design.reference))
    sentences += _diverged(study, analysis, say)
    sentences += _holm(study, analysis, say)
    return [*sentences, _conditions(study, analysis, say)]


def _diverged(study: Study, analysis: Analysis, say: Say) -> Iterator[str]:
    """Which runs diverged, by arm and rate."""
    listed = [
        say(
            "diverged one",
            count=cell.diverged,
            n=cell.n,
            arm=cell.arm,
            rate=rate(cell.learning_rate),
        )
        for cell in analysis.cells
        if cell.diverged
    ]
    if listed:
        guessing = say.percent(100 / len(study.data.classes))
        yield say("diverged", listed=say("semicolon").join(listed), guessing=guessing)
    if any(0 < cell.diverged < cell.n for cell in analysis.cells):
        yield say("diverged in part")


def _holm(study: Study, analysis: Analysis, say: Say) -> Iterator[str]:
    """How many comparisons there are, where there is more than one of a kind."""
    counts = Counter(c.question for c in analysis.comparisons if c.measure == "test-accuracy")
    if len(study.design.learning_rates) == 1:  # then both questions are the same
        del counts["equal-rate"]
    if len(study.design.seeds) > 1 and any(count > 1 for count in counts.values()):
        families = [say(f"family {question}", count=count) for question, count in counts.items()]
        yield say("holm", families=say.listed(families))


def _conditions(study: Study, analysis: Analysis, say: Say) -> str:
    """What it was that was compared."""
    design, data = study.design, study.data
    varied = {name for arm in design.arms for name in arm.settings}
    rows = {"train": data.train_rows, "valid": data.valid_rows, "test": data.test_rows}
    rates, several = say.listed(list(map(rate, design.learning_rates))), len(design.learning_rates)
    details = [
        say("rows", data=data.name, **{name: f"{n:,}" for name, n in rows.items()}),
        *_network(design.recipe, varied, say),
        *_training(design.recipe, varied, say),
        say("many rates" if several > 1 else "one rate", rates=rates),
        say("seeds" if len(design.seeds) > 1 else "seed", seeds=_ranges(design.seeds, say)),
    ]
    target = ""
    if not math.isnan(analysis.target):
        percent = say.percent(analysis.target)
        target = say(f"target {analysis.target_is}", reference=design.reference, target=percent)
    return say(
        "conditions",
        details=say("semicolon").join(details),
        chosen=say("chosen") if several > 1 and "learning_rate" not in varied else "",
        target=target,
    )


def _network(recipe: Recipe, varied: Container[str], say: Say) -> Iterator[str]:
    """What shapes the network in all arms alike."""
    if "model" in varied:
        return
    if recipe.model is not None:
        yield say("model", model=recipe.model)
        return
    if "hidden" not in varied:
        kind = {0: "no hidden", 1: "one hidden"}.get(len(recipe.hidden), "hidden")
        yield say(kind, widths=say.listed(list(map(str, recipe.hidden))))
    if "norm" not in varied:
        yield f"norm={recipe.norm}"
    if "weights" not in varied:
        yield say("weights", weights=recipe.weights)


def _training(recipe: Recipe, varied: Container[str], say: Say) -> Iterator[str]:
    """How long all arms are trained alike, at what rate, and in what batches."""
    if "epochs" not in varied:
        yield say("epoch" if recipe.epochs == 1 else "epochs", epochs=recipe.epochs)
    if "constant_epochs" not in varied:
        # the rate is set at the end of an epoch, and at the first such end it does not fall yet
        falls = "epochs" in varied or recipe.epochs > recipe.constant_epochs + 1
        yield say("falls" if falls else "constant", constant=recipe.constant_epochs)
    if "batch_size" not in varied:
        yield say("batches", rows=recipe.batch_size)


def _ranges(seeds: Sequence[int], say: Say) -> str:
    """Seeds, shortly where they follow each other."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}–{seeds[-1]}"
    return say.listed(list(map(str, seeds)))
