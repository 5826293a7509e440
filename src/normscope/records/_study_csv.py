"""A study as a table: a row for every run, for whoever counts in another program."""

import csv
import io
from typing import Any

from normscope.records._study import Study, StudyRun

_STATISTICS = ("running", "population", "batch")
_HOW_IT_RAN = (
    "learning_rate",
    "seed",
    "folder",
    "status",
    "finished_epochs",
    "finished_steps",
)
_AT_ITS_END = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
_TESTED = tuple(f"test_{what}_{kind}" for kind in _STATISTICS for what in ("accuracy", "loss"))
_FIXED = ("arm", *_HOW_IT_RAN, *_AT_ITS_END, *_TESTED, "target", "steps_to_target")


def study_csv(study: Study) -> str:
    """A study's runs as CSV (RFC 4180), in the design's order, with a heading.

    The columns: the arm, the varied fields, learning rate and seed; the run folder, how the run
    ended, its epochs and steps; the figures after its last epoch; those of the final test, under
    three kinds of statistics; and the first step from which it keeps the target. What a run does
    not have is left empty: the test of one that diverged, the step of one that never got there.
    An option of somebody's own model that is called like one of these columns, ``target``, has the
    column ``option_target``.
    """
    out = io.StringIO()
    rows = [_row(study, run) for run in study.runs]
    table = csv.DictWriter(out, fieldnames=_columns(study), lineterminator="\r\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue()


def _columns(study: Study) -> list[str]:
    """The headings."""
    varied = [f for f in study.design.arms[0].settings if f != "learning_rate"]
    return ["arm", *map(_heading, varied), *_FIXED[1:]]


def _heading(field: str) -> str:
    """What the column of a varied field is called."""
    return f"option_{field}" if field in _FIXED else field


def _row(study: Study, run: StudyRun) -> dict[str, Any]:
    """One run, by heading."""
    settings = next(arm.settings for arm in study.design.arms if arm.name == run.arm)
    settings = {field: value for field, value in settings.items() if field != "learning_rate"}
    row: dict[str, Any] = {
        "arm": run.arm,
        **{_heading(field): _cell(value) for field, value in settings.items()},
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "folder": run.folder,
        "status": run.status,
        "finished_epochs": len(run.epochs),
        "finished_steps": len(run.epochs) * run.steps_per_epoch,
        "target": study.analysis.target if study.analysis else None,
        "steps_to_target": _steps_to_target(study, run),
    }
    if run.epochs:
        last = run.epochs[-1]
        for name in _AT_ITS_END:
            row[name] = getattr(last, name)
    for kind in _STATISTICS if run.test else ():
        score = getattr(run.test, kind)
        row |= {f"test_accuracy_{kind}": score.accuracy, f"test_loss_{kind}": score.loss}
    return row


def _steps_to_target(study: Study, run: StudyRun) -> int | None:
    """By the analysis, if there is one."""
    place = study.design.seeds.index(run.seed)
    for cell in study.analysis.cells if study.analysis else ():
        if (cell.arm, cell.learning_rate) == (run.arm, run.learning_rate):
            return cell.steps[place]
    return None


def _cell(value: Any) -> Any:
    """A setting in one cell, as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    return "x".join(map(str, value)) or "none" if isinstance(value, list) else value
