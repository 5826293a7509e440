"""`explain`: each explanation of why batch norm works, against the evidence."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from normscope._errors import InputError, RecipeError, StudyError
from normscope.data import Dataset
from normscope.probes import read_readings
from normscope.records import Arm, DataRecord, Design, Reading, Recipe, Study, storage_errors
from normscope.records._evidence import EvidenceTable, ExplainedArm, LeftOut
from normscope.studies._budget import (
    CORE,
    FIRST_SEEDS,
    Allotment,
    Cost,
    allotted,
    steps_between_looks,
)
from normscope.studies._compare import trained
from normscope.studies._crew import crew_size
from normscope.studies._curve import steps_between_validations
from normscope.studies._design import arm_name, checked_confidence, planned_runs
from normscope.studies._evidence import judged
from normscope.studies._evidence_pictures import save_evidence_pictures
from normscope.studies._explanations import ARMS, PROBED, ExplainArm
from normscope.studies._messages import RunProgress
from normscope.studies._run_set import Plan
from normscope.studies._run_times import RunTimes, run_times
from normscope.training import (
    data_record,
    dataset_of,
    refuse_misfit,
    refuse_what_cannot_be_built,
)

EXPLAIN_EPOCHS = 10
"""Of the recipe that is taken where none is given: the explanations are about how training goes,
and many short runs say more about that than few long ones."""
BUDGET = 20 * 60.0

_FILE = "evidence.json"
_OWN_MODELS = ("none", "batch", "layer")
"""What the function of a model of somebody's own is known to be asked for."""


@dataclass(frozen=True)
class Explaining:
    """What is about to be trained, and what is not.

    Attributes:
        study: as it stands.
        plan: what is left to do.
        arms: those that are trained.
        left_out: those that are not.
        budget_seconds: what was given.
        expected_seconds: what the whole design is expected to take.
    """

    study: Study
    plan: Plan
    arms: tuple[ExplainArm, ...]
    left_out: tuple[LeftOut, ...]
    budget_seconds: float
    expected_seconds: float


def explain(
    recipe: Recipe | None = None,
    *,
    data: Dataset | str | Path | None = None,
    out: str | Path,
    budget: float = BUDGET,
    arms: Sequence[str] | None = None,
    learning_rates: Sequence[float] | None = None,
    seeds: int | None = None,
    confidence: float = 0.95,
    workers: int | None = None,
    on_plan: Callable[[Explaining], None] | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> EvidenceTable:
    """Train what tells the explanations of batch norm apart, and hold each against the evidence.

    The arms, what each explanation predicts of them, and what would contradict it are in
    `docs/explain.md`, written before any run. Arms, learning rates and seeds are as many as the
    budget has room for, by short runs of them here.

    Called again with the same `out` it goes on, as `compare` does; with a larger budget it extends
    what is there. The folder holds a study that `compare` could have made, and
    ``evidence.json``.

    Args:
        recipe: what all arms have in common; the article's with 10 epochs where absent.
        data: a `Dataset`, a built-in name or a path, in the place of the recipe's own.
        out: the folder.
        budget: seconds of training, on as many workers as there are.
        arms: keys of arms, in the place of those that the budget picks; no norm and batch norm
            always are among them.
        learning_rates: in the place of multiples of the recipe's.
        seeds: how many, counted from the recipe's, in the place of what the budget allows.
        confidence: of every interval, and 1 minus the error that Holm's procedure keeps to.
        workers: processes that train; by default one for every core that a run can have.
        on_plan: told once, before the first run.
        on_progress: told of every finished epoch, and of every run how it ended.

    Raises:
        StudyError: if there is no such arm, the confidence is none, or `out` holds another study.
        RecipeError: if the recipe does not fit the data, or its model takes no norm.
        DataError: if the data cannot be used.
        InputError: if the budget, the seeds, the rates or the workers are none.
        RunFolderError: if `out` is being trained into.
        StorageError: if the disk refuses.
        WorkerError: if a process cannot be started.
        RunsFailedError: if runs failed, after the others have finished.
        TrainingInterruptedError: after Ctrl-C; every run under way has been saved.
    """
    _refuse_what_is_no_number(budget, seeds, learning_rates)
    confidence = checked_confidence(confidence)
    recipe = recipe or Recipe(epochs=EXPLAIN_EPOCHS)
    dataset = data if isinstance(data, Dataset) else dataset_of(recipe, data)
    grid, rate = learning_rates, recipe.learning_rate

    def room(cost: Cost) -> bool:
        two = allotted(CORE, cost, budget, rate, rates=grid, seeds=seeds)
        return bool(seeds) or two.seeds >= FIRST_SEEDS[-1]

    lot = _laid_out(recipe, dataset, Path(out), arms, workers, room)
    design, left_out = lot.design(budget, confidence, learning_rates, seeds)
    expected = lot.seconds(design)
    trained_arms = [arm for arm in lot.arms if _name(arm, recipe) in {a.name for a in design.arms}]

    def told(study: Study, plan: Plan) -> None:
        if on_plan:
            on_plan(Explaining(study, plan, tuple(trained_arms), left_out, budget, expected))

    study = trained(
        design,
        dataset,
        Path(out),
        workers=workers,
        probes=_looks(design, trained_arms, lot.steps_per_epoch),
        on_plan=told,
        on_progress=on_progress,
    )
    table = _table(study, trained_arms, left_out, Path(out), (budget, expected))
    with storage_errors(Path(out)):
        table.save(Path(out) / _FILE)
        save_evidence_pictures(study, table, Path(out))
    return table


@dataclass(frozen=True)
class _Lot:
    """Everything that could be trained, and what it would take."""

    recipe: Recipe
    arms: tuple[ExplainArm, ...]
    always: tuple[str, ...]
    refused: tuple[LeftOut, ...]
    cost: Cost
    steps_per_epoch: int

    def design(
        self, budget: float, confidence: float, rates: Sequence[float] | None, seeds: int | None
    ) -> tuple[Design, tuple[LeftOut, ...]]:
        """What the budget has room for, and what it has not."""
        recipe = self.recipe
        chosen = allotted(
            [arm.key for arm in self.arms if arm.key in self.cost.seconds],
            self.cost,
            budget,
            recipe.learning_rate,
            always=self.always,
            rates=rates,
            seeds=seeds,
        )
        there = [arm for arm in self.arms if arm.key in chosen.arms]
        why = "the budget has no room for it"
        beyond = [LeftOut(key=a.key, words=a.words, why=why) for a in self.arms if a not in there]
        design = Design(
            recipe=recipe,
            arms=tuple(Arm(name=_name(a, recipe), settings=a.settings(recipe)) for a in there),
            reference=_name(there[0], recipe),
            learning_rates=chosen.rates,
            seeds=tuple(range(recipe.seed, recipe.seed + chosen.seeds)),
            steps_between_validations=0,
            confidence=confidence,
        )
        return design, (*self.refused, *beyond)

    def seconds(self, design: Design) -> float:
        """What a design is expected to take."""
        names = {arm.name for arm in design.arms}
        keys = tuple(arm.key for arm in self.arms if _name(arm, self.recipe) in names)
        return self.cost.of(Allotment(keys, design.learning_rates, len(design.seeds)))


def _laid_out(
    recipe: Recipe,
    dataset: Dataset,
    out: Path,
    wanted: Sequence[str] | None,
    workers: int | None,
    room: Callable[[Cost], bool],
) -> _Lot:
    """Which arms there can be, and what a run of each takes, if there is room for more than two.

    Raises:
        StudyError: if a wanted arm is none.
        RecipeError: if no norm or batch norm cannot be trained.
    """
    record = data_record(dataset)
    asked = _asked(recipe, wanted)
    recipes: dict[str, Recipe] = {}
    refused = []
    for arm in ARMS:
        if arm not in asked:
            why = "it was not asked for" if wanted else "it is for the built-in network"
            refused.append(LeftOut(key=arm.key, words=arm.words, why=why))
            continue
        try:
            changed = recipe.with_settings(arm.settings(recipe))
            refuse_misfit(changed, dataset)
            refuse_what_cannot_be_built([changed], record)
        except RecipeError as error:
            if arm.key in CORE:
                raise
            why = str(error).replace("the settings: ", "").rstrip(".")
            refused.append(LeftOut(key=arm.key, words=arm.words, why=why))
        else:
            recipes[arm.key] = changed

    def timed(arms: Mapping[str, Recipe]) -> Cost:
        times = run_times(arms, dataset, out, probed=PROBED, workers=workers)
        return _cost(recipe, arms, times, record, crew_size([recipe] * len(ARMS), workers))

    always = tuple(recipes) if wanted else CORE
    cost = timed({key: recipes[key] for key in always})
    if not wanted and room(replace(cost, once=0.0)):  # no arm is timed in vain
        cost = timed(recipes)
    return _Lot(
        recipe,
        tuple(arm for arm in ARMS if arm.key in recipes),
        always,
        tuple(refused),
        cost,
        record.train_rows // recipe.batch_size,
    )


def _cost(
    recipe: Recipe, recipes: Mapping[str, Recipe], times: RunTimes, record: DataRecord, crew: int
) -> Cost:
    """What runs of these arms take; one that could not be timed counts as the slowest."""
    steps, epochs = record.train_rows // recipe.batch_size, recipe.epochs
    validations = -(-steps // steps_between_validations(recipes.values(), record))
    looks = epochs * steps // steps_between_looks(epochs * steps)
    seconds = {
        key: time.seconds(
            epochs=epochs,
            steps=steps,
            validations=validations,
            looks=looks if key in PROBED else 0,
        )
        for key, time in times.runs.items()
    }
    slowest = max(seconds.values(), default=0.0)
    costs = {key: seconds.get(key, slowest) for key in recipes}
    return Cost(costs, crew, times.begin + times.timing, times.inspection)


def _asked(recipe: Recipe, wanted: Sequence[str] | None) -> list[ExplainArm]:
    """The arms that somebody names, or all that a network of this kind is known to have.

    Raises:
        StudyError: if there is none of a name.
    """
    known = [arm.key for arm in ARMS]
    for key in wanted or ():
        if key not in known:
            msg = f"There is no arm {key!r}; there are {', '.join(known)}."
            raise StudyError(msg)
    keys = {*CORE, *wanted} if wanted else set(known if recipe.model is None else _OWN_MODELS)
    return [arm for arm in ARMS if arm.key in keys]


def _name(arm: ExplainArm, recipe: Recipe) -> str:
    """What the study calls an arm."""
    return arm_name(arm.settings(recipe))


def _looks(design: Design, arms: Sequence[ExplainArm], steps: int) -> dict[str, int]:
    """For every run that probes look at, the steps between two moments."""
    probed = {_name(arm, design.recipe) for arm in arms if arm.key in PROBED}
    every = steps_between_looks(design.recipe.epochs * steps)
    return {run.name: every for run in planned_runs(design) if run.arm in probed}


def _table(
    study: Study,
    arms: Sequence[ExplainArm],
    left_out: tuple[LeftOut, ...],
    out: Path,
    seconds: tuple[float, float],
) -> EvidenceTable:
    """What follows from a complete study."""
    assert study.analysis, "a complete study is analysed"
    design, best = study.design, study.analysis.best_learning_rates
    names = {arm.key: _name(arm, design.recipe) for arm in arms}
    probed = {names[key] for key in PROBED if key in names}
    readings: dict[str, Sequence[Reading]] = {
        run.folder: read_readings(out / run.folder) for run in study.runs if run.arm in probed
    }
    edges = {min(design.learning_rates), max(design.learning_rates)}
    explained = tuple(
        ExplainedArm(
            key=arm.key,
            words=arm.words,
            name=names[arm.key],
            best_learning_rate=best[names[arm.key]],
            at_the_edge=best[names[arm.key]] in edges,
        )
        for arm in arms
    )
    return EvidenceTable(
        recipe=design.recipe,
        data=study.data,
        environment=study.environment,
        arms=explained,
        left_out=left_out,
        learning_rates=design.learning_rates,
        seeds=design.seeds,
        confidence=design.confidence,
        budget_seconds=seconds[0],
        expected_seconds=seconds[1],
        rows=judged(study, names, readings),
        notes=study.notes,
    )


def _refuse_what_is_no_number(
    budget: float, seeds: int | None, rates: Sequence[float] | None
) -> None:
    """Refuse numbers that no design can have.

    Raises:
        InputError: naming it, and what to give.
    """
    if not (isinstance(budget, int | float) and 0 < budget < math.inf):
        msg = f"budget is {budget!r}; give seconds, such as 1200."
        raise InputError(msg)
    if seeds is not None and (not isinstance(seeds, int) or seeds < 1):
        msg = f"seeds is {seeds!r}; give how many, 3 or more to decide anything."
        raise InputError(msg)
    fit = rates is None or all(0 < rate < math.inf for rate in rates)
    if rates is not None and not (rates and fit and len(set(rates)) == len(rates)):
        msg = f"learning_rates is {rates!r}; give different numbers above 0, smallest first."
        raise InputError(msg)
