"""Studies whose runs are as one says: no training."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from normscope.records import (
    Arm,
    CurvePoint,
    DataRecord,
    Design,
    Environment,
    EpochRecord,
    Recipe,
    Score,
    Study,
    StudyRun,
    TestScores,
)

EPOCHS = 10
STEPS_PER_EPOCH = 100
SPACING = 20
ALL_STEPS = EPOCHS * STEPS_PER_EPOCH


class Ends(NamedTuple):
    """How a run ends: test and validation accuracy, and where it is at 80 % for good."""

    test: float = 90.0
    steps: int | None = 200
    valid: float | None = None
    """As on the test set, where absent."""
    right: Sequence[bool] | None = None


DIVERGED = Ends(test=float("nan"))


def study(
    cells: Mapping[tuple[str, float], Sequence[Ends]],
    *,
    reference: str,
    target: float | None = 80.0,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    test_rows: int = 10_000,
    **recipe: Any,
) -> Study:
    """A complete study with these runs, the arms and rates in the order of the cells."""
    names, rates = (
        list(dict.fromkeys(a for a, _ in cells)),
        list(dict.fromkeys(r for _, r in cells)),
    )
    seeds = len(next(iter(cells.values())))
    return Study(
        status="complete",
        design=Design(
            recipe=Recipe(epochs=EPOCHS, **recipe),
            arms=tuple(
                Arm(name=name, settings=dict((settings or {}).get(name, _settings(name))))
                for name in names
            ),
            reference=reference,
            learning_rates=tuple(rates),
            seeds=tuple(range(seeds)),
            steps_between_validations=SPACING,
            target=target,
        ),
        data=DataRecord(
            name="made-up",
            source="made-up",
            fingerprint="00",
            classes=tuple("ABCDEFGHIJ"),
            image_size=(28, 28),
            train_rows=STEPS_PER_EPOCH * 120,
            valid_rows=900,
            test_rows=test_rows,
            framing={},
        ),
        environment=Environment(
            normscope="0",
            python="3",
            torch="2",
            numpy="2",
            platform="here",
            processor="one",
            device="cpu",
            threads=1,
        ),
        runs=tuple(
            run(arm, rate, seed, ends)
            for (arm, rate), every in cells.items()
            for seed, ends in enumerate(every)
        ),
    )


def _settings(name: str) -> dict[str, Any]:
    field, _, value = name.partition("=")
    return {field: float(value) if field == "learning_rate" else value}


def run(arm: str, rate: float, seed: int, ends: Ends) -> StudyRun:
    diverged = ends is DIVERGED
    valid = ends.test if ends.valid is None else ends.valid
    points = range(SPACING, (STEPS_PER_EPOCH if diverged else ALL_STEPS) + 1, SPACING)
    right = "" if ends.right is None else base64.b64encode(np.packbits(ends.right)).decode()
    return StudyRun(
        arm=arm,
        learning_rate=rate,
        seed=seed,
        folder=f"{arm}-{rate}-{seed}",
        status="diverged" if diverged else "complete",
        steps_per_epoch=STEPS_PER_EPOCH,
        epochs=tuple(epoch(number, valid) for number in range(1, 1 if diverged else EPOCHS + 1)),
        curve=tuple(curve([arrived(s, ends.steps) for s in points])),
        test=None if diverged else scores(ends.test),
        right=right,
    )


def arrived(step: int, at: int | None) -> float:
    return 79.0 if at is None or step < at else 81.0


def curve(accuracies: Sequence[float]) -> list[CurvePoint]:
    return [
        CurvePoint(step=SPACING * number, valid_loss=0.5, valid_accuracy=accuracy)
        for number, accuracy in enumerate(accuracies, start=1)
    ]


def epoch(number: int, valid: float) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        train_loss=0.1,
        train_accuracy=99.0,
        valid_loss=0.5,
        valid_accuracy=valid,
        learning_rate=0.01,
        seconds=1.0,
    )


def scores(accuracy: float) -> TestScores:
    one = Score(accuracy=accuracy, loss=0.5)
    return TestScores(running=one, population=one, batch=one)


def cell(tests: Sequence[float], steps: Sequence[int | None] | None = None) -> list[Ends]:
    """Runs of one arm at one rate."""
    return [Ends(test, 200 if steps is None else steps[seed]) for seed, test in enumerate(tests)]
