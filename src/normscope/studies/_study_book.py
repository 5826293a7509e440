"""A study on its way: every run is entered when it ends, and `study.json` follows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from normscope._errors import StudyError
from normscope.records import (
    DataRecord,
    Design,
    Environment,
    Inspected,
    Inspection,
    Study,
    StudyRun,
    storage_errors,
)
from normscope.studies._analysis import analyse
from normscope.studies._curve import steps_between_validations
from normscope.studies._design import Planned
from normscope.studies._messages import RunProgress, Watch
from normscope.studies._names import shown
from normscope.studies._run_set import RunSet
from normscope.studies._watched import ended_run
from normscope.training import choose_device, cpu_threads, environment

_FILE = "study.json"
_MAY_DIFFER = {"seed", "learning_rate", "data"}
"""Fields of the common recipe that say nothing on which study it is: seeds and rates may be added,
and the data are known by their fingerprint wherever they lie."""


class StudyBook:
    """Keeps a study and its file true to the runs that have ended.

    Args:
        design: without the steps between validations, which are decided here.
        plan: its runs, by name.
        run_set: these, with their data; they are watched from now on.
        probes: for the names of the runs that probes look at, the steps between two moments.

    Attributes:
        study: as in the file.

    Raises:
        StudyError: if the folder holds another study, or one that cannot be read, or if guessing
            reaches the target.
        StorageError: if the disk refuses.
    """

    def __init__(
        self,
        design: Design,
        plan: Mapping[str, Planned],
        run_set: RunSet,
        probes: Mapping[str, int] | None = None,
    ) -> None:
        self._file, self._plan, self._run_set = run_set.out / _FILE, plan, run_set
        before = Study.load(self._file) if self._file.exists() else None
        record = run_set.tasks[0].record
        _refuse_a_target_of_guessing(design.target, 100 / len(record.classes))
        if before:
            _refuse_another(before, design, record.fingerprint, run_set.out)
            every = before.design.steps_between_validations
        else:
            every = steps_between_validations([run.recipe for run in plan.values()], record)
        first = design.seeds[0]
        looks = probes or {}
        run_set.watch(
            {
                name: Watch(every, run.recipe.seed == first, looks.get(name, 0))
                for name, run in plan.items()
            }
        )
        self._tasks = {task.name: task for task in run_set.tasks}
        nothing_left = not any(map(run_set.is_left, run_set.tasks))
        self.study = Study(
            status="running",
            design=_settled(design, every, record),
            data=record,
            environment=before.environment if before and nothing_left else _here(design),
        )
        self._runs = {name: run for name in plan if (run := self._ended(name))}
        self._save()

    def hear(self, progress: RunProgress) -> None:
        """Enter a run that has come to its end.

        One that failed is left for the next call: what could not be measured of it in its own
        process would fail here as well, and take the other runs with it.

        Raises:
            StorageError: if the disk refuses.
        """
        ended = progress.status in {"complete", "diverged"}
        new = ended and progress.name not in self._runs
        if new and (run := self._ended(progress.name)):
            self._runs[progress.name] = run
            self._save()

    def close(self) -> Study:
        """Analyse, now that every run has ended.

        Raises:
            StorageError: if the disk refuses.
        """
        self.study = self.study.model_copy(update={"status": "complete"})
        self.study = self.study.model_copy(update={"analysis": analyse(self.study)})
        self.study = self.study.model_copy(update={"inspections": tuple(self._inspected())})
        self._save()
        return self.study

    def _ended(self, name: str) -> StudyRun | None:
        """What a run has come to; None if it has not ended."""
        task = self._tasks[name]
        if not (task.folder / "run.json").exists():
            return None
        return ended_run(self._plan[name], task, self._run_set.dataset(task))

    def _inspected(self) -> Iterator[Inspected]:
        """The first seed's run of every arm, at the arm's own best rate, unless it diverged."""
        study = self.study
        assert study.analysis
        for run in study.runs:
            best = run.learning_rate == study.analysis.best_learning_rates[run.arm]
            if best and run.seed == study.design.seeds[0] and run.status == "complete":
                inspection = Inspection.load(self._file.parent / run.folder)
                if inspection:
                    yield Inspected(folder=run.folder, inspection=inspection)

    def _save(self) -> None:
        """Write the file, with the runs in the design's order."""
        runs = tuple(self._runs[name] for name in self._plan if name in self._runs)
        self.study = self.study.model_copy(update={"runs": runs})
        with storage_errors(self._file):
            self.study.save(self._file)


def _settled(design: Design, every: int, data: DataRecord) -> Design:
    """The design, with what could not be known before the data were."""
    recipe = design.recipe.model_copy(update={"data": data.source})
    return design.model_copy(update={"recipe": recipe, "steps_between_validations": every})


def _here(design: Design) -> Environment:
    """What this call trains on."""
    with cpu_threads(design.recipe.threads):
        return environment(choose_device(design.recipe.device))


def _refuse_a_target_of_guessing(target: float | None, guessing: float) -> None:
    """Refuse a target that a network reaches which has learned nothing.

    Raises:
        StudyError: asking for the percentage, where the target looks like a share.
    """
    if target is None or target > guessing:
        return
    msg = f"target is {target:g} %, and guessing alone reaches {guessing:.3g} % on these data. "
    meant = 100 * target
    msg += f"Did you mean {meant:g}?" if target < 1 and meant > guessing else "Give a higher one."
    raise StudyError(msg)


def refuse_another_study(here: Design, out: Path) -> None:
    """Refuse a folder whose study is another by its design, before the data are read.

    Raises:
        StudyError: naming what differs, or if the study there cannot be read.
    """
    if (out / _FILE).exists():
        there = Study.load(out / _FILE)
        _refuse_another(there, here, there.data.fingerprint, out)


def _refuse_another(there: Study, here: Design, fingerprint: str, out: Path) -> None:
    """Refuse a folder whose study varies other fields, or has other settings in common.

    Raises:
        StudyError: naming what differs.
    """
    varied_there, varied = (list(design.arms[0].settings) for design in (there.design, here))
    differing = [
        f"{field} is {shown(value)} there and {shown(getattr(here.recipe, field))} here"
        for field, value in there.design.recipe
        if field not in {*varied, *_MAY_DIFFER} and value != getattr(here.recipe, field)
    ]
    if set(varied_there) != set(varied):
        differing = [f"it varies {' and '.join(varied_there)}, not {' and '.join(varied)}"]
    if there.data.fingerprint != fingerprint:
        differing.append("its data are not these (their fingerprints differ)")
    if differing:
        msg = f"{out}: this folder holds another study: {'; '.join(differing)}. Choose another out."
        raise StudyError(msg)
