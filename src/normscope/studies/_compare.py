"""`compare`: the same recipe in several variants, trained with the same seeds, and judged."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from normscope.data import Dataset
from normscope.records import Design, Recipe, Study
from normscope.studies._crew import crew_size
from normscope.studies._design import designed, planned_runs
from normscope.studies._messages import RunProgress
from normscope.studies._run_set import Plan, opened
from normscope.studies._study_book import StudyBook, refuse_another_study


def compare(
    vary: Mapping[str, Sequence[Any]],
    recipe: Recipe | None = None,
    *,
    seeds: int | Sequence[int] = 5,
    data: Dataset | str | Path | None = None,
    out: str | Path,
    target: float | None = None,
    reference: str | None = None,
    confidence: float = 0.95,
    workers: int | None = None,
    on_plan: Callable[[Study, Plan], None] | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> Study:
    """Train variants of a recipe with the same seeds, and say how they differ, with intervals.

    Every combination of the varied fields is an arm. The learning rate is apart: every arm is
    trained at each rate, so that arms can be compared at their own best and at equal ones. (Where
    nothing else is varied, the rates are the arms.) With one seed, all runs start from the same
    weights, as far as their shapes allow, and see the rows in the same order.

    Called again with the same `out` it goes on: finished runs are kept, unfinished ones taken up,
    missing ones begun. So a study can be killed at any moment, and extended by seeds, by rates and
    by arms.

    Args:
        vary: recipe fields, and the values of each: ``{"norm": ["batch", "none"]}``. Where the
            recipe has a model of its own, its options can be varied as well.
        recipe: what all runs have in common; the article's where absent.
        seeds: how many, counted from the recipe's; or which.
        data: a `Dataset`, a built-in name or a path, in the place of the recipe's own.
        out: the study's folder: ``study.json``, and a folder for every run.
        target: percent of the validation set that counts as reached, more than guessing reaches;
            by default where the reference's runs end at its best rate (median over seeds), less
            one standard error of the validation set.
        reference: the arm that the others are compared with: ``norm=none``. By default the plain
            one where there is one, and else the first.
        confidence: of every interval.
        workers: processes that train; by default one for every core that a run can have.
        on_plan: told once, before the first step: the study so far, and what is about to be done.
        on_progress: told of every finished epoch, and of every run how it ended.

    Returns:
        The study, as in ``study.json``: raw values, and what follows from them.

    Raises:
        StudyError: if the design cannot be, or `out` holds another study.
        RecipeError: if a recipe is wrong, or does not fit the data.
        DataError: if the data cannot be used.
        InputError: if `workers` is not a whole number from 1.
        RunFolderError: if `out` holds other runs under the same names, or is being trained into.
        StorageError: if the disk refuses.
        WorkerError: if a process cannot be started.
        RunsFailedError: if runs failed, after the others have finished.
        TrainingInterruptedError: after Ctrl-C; every run under way has been saved.

    Example:
        >>> import tempfile
        >>> short = Recipe(hidden=(30,), epochs=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = compare({"norm": ["batch", "none"]}, short, seeds=2, out=folder)
        >>> study.status, [(run.arm, run.seed) for run in study.runs[:3]]
        ('complete', [('norm=batch', 0), ('norm=batch', 1), ('norm=none', 0)])
    """
    design = designed(
        vary,
        recipe or Recipe(),
        seeds=seeds,
        target=target,
        reference=reference,
        confidence=confidence,
    )
    return trained(
        design, data, Path(out), workers=workers, on_plan=on_plan, on_progress=on_progress
    )


def trained(
    design: Design,
    data: Dataset | str | Path | None,
    out: Path,
    *,
    workers: int | None,
    probes: Mapping[str, int] | None = None,
    on_plan: Callable[[Study, Plan], None] | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> Study:
    """Train whatever a design still lacks in its folder; what follows from all of it.

    Args:
        design: as `designed` makes it.
        data: in the place of the recipe's own.
        out: the study's folder.
        workers: as for `compare`, and so are `on_plan` and `on_progress`.
        probes: for names of runs, how many steps lie between two moments at which probes read.
        on_plan: see `compare`.
        on_progress: see `compare`.

    Raises:
        StudyError: if `out` holds another study.
        RecipeError: if a recipe does not fit the data.
        DataError: if the data cannot be used.
        InputError: if `workers` is not a whole number from 1.
        RunFolderError: if `out` holds other runs under the same names, or is being trained into.
        StorageError: if the disk refuses.
        WorkerError: if a process cannot be started.
        RunsFailedError: if runs failed, after the others have finished.
        TrainingInterruptedError: after Ctrl-C; every run under way has been saved.
    """
    plan = {run.name: run for run in planned_runs(design)}
    recipes = {name: run.recipe for name, run in plan.items()}
    crew_size(
        list(recipes.values()), workers
    )  # what it refuses is refused before the data are read
    refuse_another_study(design, out)
    with opened(recipes, data, out) as run_set:
        book = StudyBook(design, plan, run_set, probes)

        def told(progress: RunProgress) -> None:
            book.hear(progress)
            if on_progress:
                on_progress(progress)

        run_set.train(
            workers,
            on_plan=lambda what: on_plan(book.study, what) if on_plan else None,
            on_progress=told,
        )
        return book.close()
