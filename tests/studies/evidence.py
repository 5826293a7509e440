"""Studies about explanations whose truth is known: no training."""

from collections.abc import Mapping, Sequence

import numpy as np

from normscope.records import EvidenceRow, Reading, Study
from normscope.studies._analysis import analyse
from normscope.studies._evidence import judged
from normscope.studies._explanations import ARMS
from normscope.studies._readings_of import READINGS
from tests.studies.made_up import DIVERGED, Ends, study

RATES = (0.002, 0.02, 0.2)
BEST = 0.02
_PER_SEED = np.random.default_rng(7)
SEEDS = [float(x) for x in _PER_SEED.normal(0, 3, 20)]
"""What a seed does to every arm alike: large, and gone in pairs."""


class Truth:
    """One arm's: what it learns and ends with at its best rate, and what it loses elsewhere."""

    def __init__(
        self,
        learned: float = 80.0,
        ended: float = 90.0,
        *,
        early: float | None = None,
        elsewhere: Sequence[float] = (5.0, 0.0, 5.0),
        diverged: Sequence[int] = (),
        readings: Mapping[str, float] | None = None,
    ) -> None:
        self.learned, self.ended = learned, ended
        self.early = learned if early is None else early
        self.elsewhere, self.diverged = elsewhere, diverged
        self.readings = readings or {}


def evidence(
    truths: Mapping[str, Truth], *, seeds: int = 6, noise: float = 0.2, test_rows: int = 10_000
) -> dict[str, EvidenceRow]:
    """Every prediction's row, of a study in which these are the truths."""
    made, names = made_up(truths, seeds=seeds, noise=noise, test_rows=test_rows)
    readings = {
        run.folder: _readings(truths[key].readings, noise, run.seed)
        for key in truths
        for run in made.runs
        if run.arm == names[key] and run.status == "complete"
    }
    return {row.key: row for row in judged(made, names, readings)}


def made_up(
    truths: Mapping[str, Truth], *, seeds: int, noise: float, test_rows: int = 10_000
) -> tuple[Study, dict[str, str]]:
    """The study, complete and analysed, and its names of the arms."""
    settings = {arm.key: arm.settings for arm in ARMS}
    recipe = study({("norm=none", BEST): [Ends()]}, reference="norm=none").design.recipe
    changed = {key: settings[key](recipe) for key in truths}
    names = {key: ", ".join(f"{f}={v}" for f, v in each.items()) for key, each in changed.items()}
    random = np.random.default_rng(0)
    cells = {
        (names[key], rate): [
            DIVERGED
            if seed in truth.diverged
            else Ends(truth.ended - lost + SEEDS[seed] / 3 + noise * random.normal())
            for seed in range(seeds)
        ]
        for key, truth in truths.items()
        for rate, lost in zip(RATES, truth.elsewhere, strict=True)
    }
    made = study(
        cells,
        reference=names["none"],
        settings={names[key]: each for key, each in changed.items()},
        test_rows=test_rows,
    )
    by_name = {names[key]: truth for key, truth in truths.items()}
    runs = []
    for run in made.runs:
        truth = by_name[run.arm]
        shift = SEEDS[run.seed] + noise * random.normal()
        lost = dict(zip(RATES, truth.elsewhere, strict=True))[run.learning_rate]
        epochs = tuple(
            each.model_copy(
                update={"train_accuracy": (truth.learned if n else truth.early) - lost + shift}
            )
            for n, each in enumerate(run.epochs)
        )
        runs.append(run.model_copy(update={"epochs": epochs}))
    made = made.model_copy(update={"runs": tuple(runs)})
    return made.model_copy(update={"analysis": analyse(made)}), names


def _readings(true: Mapping[str, float], noise: float, seed: int) -> list[Reading]:
    """What probes would have read of three layers, the logits' last, or of the whole network."""
    random = np.random.default_rng(seed)
    found = []
    for name, value in true.items():
        of = READINGS[name]
        for step in (0,) if of.when == "first" else (100, 200):
            for layer in ("",) if of.layers == "network" else ("a", "b", "c", "logits"):
                read = value * float(np.exp(0.3 * noise * random.normal()))
                found.append(
                    Reading(
                        step=step,
                        probe=of.probe,
                        quantity=of.quantities[-1],
                        layer=layer,
                        value=1e9 if layer == "logits" and of.layers != "later" else read,
                    )
                )
    return found
