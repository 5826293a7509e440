"""A made-up study of why batch norm works, with readings of every probe; no training."""

from functools import cache

import numpy as np

from normscope.probes._landscape import MULTIPLES
from normscope.probes._safe_step import LENGTHS
from normscope.records import (
    EvidenceTable,
    ExplainedArm,
    Inspected,
    Inspection,
    LeftOut,
    Reading,
    Study,
)
from normscope.records._evidence_pictures import EvidencePictures
from normscope.studies._evidence import judged
from normscope.studies._evidence_pictures import evidence_pictures
from normscope.studies._explanations import ARMS
from tests.report import samples
from tests.studies.evidence import BEST, Truth, made_up

WIDTHS = (40, 30, 20, 10)
LAYERS = ("layers.0", "layers.1", "layers.2", "logits")
BANDS = ("s1", "s3", "unit_s1", "unit_s3")
MOMENTS = (200, 400, 800)
TRUTHS = {
    "none": Truth(70, 88, elsewhere=(6, 0, 20)),
    "batch": Truth(84, 90, elsewhere=(1, 0, 1)),
    "noisy": Truth(82, 89.6),
    "detached": Truth(60, 85, diverged=(1,)),
    "weight": Truth(77.2, 89),
    "ghost-8": Truth(80, 90.7),
    "ghost-2": Truth(83, 90.2),
    "layer": Truth(81, 90.0),
}
WHY_LEFT_OUT = "the budget has no room for it"


@cache
def evidence(seeds: int = 5) -> tuple[Study, EvidenceTable, EvidencePictures]:
    """What a study folder of `explain` holds."""
    study, names = made_up(TRUTHS, seeds=seeds, noise=0.3)
    arms = {name: key for key, name in names.items()}
    looked = ("none", "batch", "noisy")
    readings = {
        run.folder: made_readings(arms[run.arm], run.learning_rate, run.seed)
        for run in study.runs
        if arms[run.arm] in looked and run.status == "complete"
    }
    study = study.model_copy(
        update={
            "data": study.data.model_copy(update={"name": "letters"}),
            "inspections": tuple(
                Inspected(
                    folder=run.folder,
                    inspection=_inside("none" if key == "none" else "batch"),
                )
                for run in study.runs
                if (key := arms[run.arm]) in looked
                and (run.seed, run.learning_rate) == (study.design.seeds[0], BEST)
            ),
        }
    )
    pictures = evidence_pictures(study, names, readings)
    rates = study.design.learning_rates
    table = EvidenceTable(
        recipe=study.design.recipe,
        data=study.data,
        environment=study.environment,
        arms=tuple(
            ExplainedArm(
                key=arm.key,
                words=arm.words,
                name=names[arm.key],
                best_learning_rate=study.analysis.best_learning_rates[names[arm.key]],
                at_the_edge=arm.key == "noisy",
            )
            for arm in ARMS
            if arm.key in names
        ),
        left_out=tuple(
            LeftOut(key=arm.key, words=arm.words, why=WHY_LEFT_OUT)
            for arm in ARMS
            if arm.key not in names
        ),
        learning_rates=rates,
        seeds=study.design.seeds,
        confidence=0.95,
        budget_seconds=1200,
        expected_seconds=1100,
        rows=judged(study, names, readings),
        notes=("A note of the study's.",),
    )
    return study, table, pictures


def _inside(norm: samples.Norm) -> Inspection:
    """With a history of few moments, of which each is a picture."""
    inspection = samples.inspection(norm, widths=WIDTHS)
    history = inspection.history
    layers = tuple(
        layer.model_copy(update={name: getattr(layer, name)[::6] for name in BANDS})
        for layer in history.layers
    )
    short = history.model_copy(update={"steps": history.steps[::6], "layers": layers})
    return inspection.model_copy(update={"history": short})


def made_readings(arm: str, rate: float, seed: int) -> list[Reading]:
    """What probes would have read: without a norm things drift, are rough, and lose their rank."""
    random = np.random.default_rng([seed, len(arm)])
    plain = arm == "none"
    found = list[Reading]()

    def read(step: int, probe: str, quantity: str, value: float, layer: str = "") -> None:
        luck = float(np.exp(0.05 * random.normal()))
        found.append(
            Reading(step=step, probe=probe, quantity=quantity, layer=layer, value=value * luck)
        )

    for number, layer in enumerate(LAYERS):
        read(0, "stable-rank", "sums", 9 * 0.6**number if plain else 11 * 0.9**number, layer)
        if layer != "logits":
            read(0, "depth-growth", "gradient-growth", 0.9 if plain else 1.22, layer)
        read(0, "dead-units", "never-positive", 0.04 * number if plain else 0.0, layer)
        read(0, "dead-units", "always-positive", 0.03 * number if plain else 0.001, layer)
        read(0, "input-independence", "normalized", 0.6 if plain else 0.4, layer)
    for step in MOMENTS:
        late = step / MOMENTS[-1]
        drift = "sums-drift" if plain else "normalized-drift"
        for number, layer in enumerate(LAYERS):
            if step > MOMENTS[0]:
                read(step, "distribution-drift", drift, (0.5 if plain else 0.2) / late, layer)
            shift = 0.1 * number * (1.0 if plain else 1.6)
            read(step, "covariate-shift", "relative-shift", shift, layer)
            angle = rate if plain else rate ** (1 - 0.9 * late) * 0.01 ** (0.9 * late)
            read(step, "angular-update", "angle", angle, layer)
            read(step, "angular-update", "cosine-gradient", -0.02 if plain else 1e-7, layer)
            read(step, "length-direction", "radial-share", 0.01 if plain else 0.002, layer)
            read(step, "dead-units", "never-positive", 0.1 * late if plain else 0.02, layer)
            if not plain:
                read(step, "gradient-identity", "centering", 0.01 * (1 + number), layer)
                read(step, "gradient-identity", "projection", 0.02, layer)
                read(step, "gradient-identity", "residual", 1e-6, layer)
                read(step, "statistics-gap", "mean-distance", 0.2 / late, layer)
        if not plain:
            read(step, "batch-noise", "output-noise", 0.02)
            read(step, "batch-noise-quarter", "output-noise", 0.08)
        for along in ("gradient", "step"):
            rough = (3.0 if plain else 1.0) * (0.02 if along == "gradient" else 0.01)
            losses = tuple((2 - late) * (1 - 0.05 * m + rough * m * m) for m in MULTIPLES)
            found.append(
                Reading(step=step, probe="landscape", quantity=f"{along}-loss", values=losses)
            )
        read(step, "landscape", "gradient-smoothness", 40 if plain else 12)
        read(step, "landscape", "gradient-scale-free-smoothness", 90 if plain else 80)
        curve = tuple(1 - x + (30 if plain else 3) * x**2 for x in LENGTHS)
        found.append(Reading(step=step, probe="safe-step", quantity="relative-loss", values=curve))
        read(step, "safe-step", "largest-safe", 0.3 if plain else 2.5)
    return found
