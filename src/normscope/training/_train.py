"""`train` and `resume`: from a recipe and data to a trained network, its record and its folder."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from normscope._errors import (
    DataError,
    DivergenceError,
    RecipeError,
    RunFolderError,
    TrainingInterruptedError,
)
from normscope.data import Dataset, Framing, fingerprint
from normscope.data import load as load_data
from normscope.nn import MLP
from normscope.records import DataRecord, Recipe, Run, Status, TestScores
from normscope.training._environment import choose_device, cpu_threads, environment
from normscope.training._evaluation import Rows, test_scores
from normscope.training._interrupts import stop_requests
from normscope.training._loop import fit
from normscope.training._network import build_network, build_optimizer
from normscope.training._observers import Observer
from normscope.training._run_folder import RunFolder
from normscope.training._state import TrainingState
from normscope.training._tensorboard import TensorBoardObserver, tensorboard_is_installed


@dataclass(frozen=True)
class TrainResult:
    """What a finished training gives.

    Attributes:
        network: trained, in eval mode, on the device that it trained on.
        run: the record, as in ``run.json``.
        folder: where it was saved; None if it was not.
    """

    network: MLP
    run: Run
    folder: Path | None


def dataset_of(recipe: Recipe, source: str | Path | None = None) -> Dataset:
    """Load the data that `recipe` names, or `source` in their place.

    Raises:
        DataError: if they cannot be used.
    """
    return load_data(source or recipe.data, valid_fraction=recipe.valid_fraction)


def train(
    recipe: Recipe | None = None,
    data: Dataset | str | Path | None = None,
    *,
    out: str | Path | None = None,
    observers: Sequence[Observer] = (),
) -> TrainResult:
    """Train a network by `recipe` (the article's where absent).

    Args:
        recipe: what to do; its ``data`` is replaced by `data` where given.
        data: a `Dataset`, a built-in name or a path.
        out: a new folder for the record and the checkpoints; without it nothing is written.
        observers: they look on; the result has the same bits without them.

    Raises:
        RecipeError: if the recipe does not fit the data or the machine.
        DataError: if the data cannot be used.
        RunFolderError: if `out` is taken.
        StorageError: if the disk refuses.
        DivergenceError: if a loss is not finite; the last good checkpoint is kept.
        TrainingInterruptedError: after Ctrl-C, if there is an `out` to save to.

    Example:
        >>> result = train(Recipe(hidden=(30,), epochs=2), "letters")
        >>> result.run.status, len(result.run.epochs), result.run.test.running.accuracy > 60
        ('complete', 2, True)
    """
    recipe = recipe or Recipe()
    dataset = data if isinstance(data, Dataset) else dataset_of(recipe, data)
    recipe = recipe.model_copy(update={"data": dataset.source})
    _check_batch_size(recipe, dataset)
    device = choose_device(recipe.device)
    with cpu_threads(recipe.threads):
        run = Run(
            status="running",
            recipe=recipe,
            data=_data_record(dataset),
            environment=environment(device),
        )
    folder = None if out is None else RunFolder(Path(out))
    if folder:
        folder.create(run)
    return _continue(run, dataset, folder, observers)


def resume(
    path: str | Path,
    data: Dataset | str | Path | None = None,
    *,
    observers: Sequence[Observer] = (),
) -> TrainResult:
    """Take up a training that was stopped or killed; it ends in the bits it would have ended in.

    Args:
        path: the run folder.
        data: where the data are now, if they moved; they must be the same.
        observers: they look on.

    Raises:
        RunFolderError: if `path` holds no run, a complete one, or a damaged one.
        DataError: if the data cannot be used, or are not those that the run began with.
        StorageError: if the disk refuses.
        DivergenceError: if a loss is not finite; the last good checkpoint is kept.
        TrainingInterruptedError: after Ctrl-C.
    """
    folder = RunFolder(Path(path))
    run = Run.load(folder.path)
    if run.status == "complete":
        msg = f"{path}: this run is complete. Look at it with `normscope test {path}`."
        raise RunFolderError(msg)
    dataset = data if isinstance(data, Dataset) else dataset_of(run.recipe, data)
    if fingerprint(dataset) != run.data.fingerprint:
        msg = (
            f"{dataset.source}: these are not the data that {path} was trained on so far (their "
            "fingerprints differ). Pass the same data with --data, or start a new run."
        )
        raise DataError(msg)
    return _continue(run, dataset, folder, observers)


def test_run(path: str | Path, data: Dataset | str | Path | None = None) -> TestScores:
    """Test the network of a run folder again, under three kinds of statistics.

    Args:
        path: the run folder; the newest checkpoint is tested, also of an unfinished run.
        data: other data than the run's, or where they are now.

    Raises:
        RunFolderError: if there is no run, or no checkpoint that can be read.
        DataError: if the data cannot be used, or have images or classes of another kind.
    """
    run = Run.load(Path(path))
    network = RunFolder(Path(path)).load_network(run)
    dataset = data if isinstance(data, Dataset) else dataset_of(run.recipe, data)
    _refuse_other_kind(run, dataset)
    device = choose_device("auto")
    with cpu_threads(run.recipe.threads):
        rows = (Rows.of(split, device) for split in (dataset.train, dataset.test))
        train_rows, test_rows = rows
        return test_scores(network.to(device), train=train_rows, test=test_rows)


def _continue(
    run: Run, dataset: Dataset, folder: RunFolder | None, observers: Sequence[Observer]
) -> TrainResult:
    """Train from wherever the folder's newest checkpoint stands to the end, and test."""
    device = choose_device(run.recipe.device)
    with ExitStack() as stack:
        stack.enter_context(cpu_threads(run.recipe.threads))
        if folder:
            stack.enter_context(folder.locked())
        stop = stack.enter_context(stop_requests()) if folder else _never
        state = _fresh_state(run, device)
        if folder:
            run = _taken_up(run, state, folder, device)
            observers = [*observers, *_tensorboard(folder)]
        writer = _Writer(run, state, folder)
        train_rows, valid, test = (
            Rows.of(split, device) for split in (dataset.train, dataset.valid, dataset.test)
        )
        for observer in observers:
            observer.on_start(writer.run, state.steps_per_epoch)
            stack.callback(_end, observer, writer)
        try:
            complete = fit(
                state,
                run.recipe,
                train=train_rows,
                valid=valid,
                observers=observers,
                save=writer.save,
                stop=stop,
            )
        except DivergenceError as error:
            writer.write("diverged", note=str(error))
            raise DivergenceError(_with_advice(error, writer)) from None
        if not complete:
            writer.write("interrupted", note=f"Interrupted {_place(state)}.")
            msg = f"Stopped {_place(state)}, and saved."
            raise TrainingInterruptedError(msg)
        scores = test_scores(state.network, train=train_rows, test=test)
        writer.write("complete", test=scores)
        return TrainResult(state.network.eval(), writer.run, folder.path if folder else None)


class _Writer:
    """Keeps the record true to the state, and both on disk where there is a folder."""

    def __init__(self, run: Run, state: TrainingState, folder: RunFolder | None) -> None:
        self.run = run
        self._state = state
        self._folder = folder

    def save(self) -> None:
        """A checkpoint first, then the record: a record never promises what is not there."""
        if self._folder:
            self._folder.save(self._state)
        self.write("running")

    def write(
        self, status: Status, *, note: str | None = None, test: TestScores | None = None
    ) -> None:
        """Bring the record up to date."""
        self.run = self.run.model_copy(
            update={
                "status": status,
                "epochs": tuple(self._state.epochs),
                "notes": self.run.notes + ((note,) if note else ()),
                "test": test,
            }
        )
        if self._folder:
            self._folder.write_run(self.run)


def _end(observer: Observer, writer: _Writer) -> None:
    """Tell an observer that it is over, with the record as it then is."""
    observer.on_end(writer.run)


def _never() -> bool:
    """Without a folder to save to, Ctrl-C is Python's own."""
    return False


def _fresh_state(run: Run, device: torch.device) -> TrainingState:
    """The state before the first step, from the recipe and its seed alone."""
    height, width = run.data.image_size
    network = build_network(run.recipe, inputs=height * width, classes=len(run.data.classes))
    network.to(device)
    return TrainingState.fresh(
        network,
        build_optimizer(network, run.recipe),
        steps=run.data.train_rows // run.recipe.batch_size,
        device=device,
    )


def _taken_up(run: Run, state: TrainingState, folder: RunFolder, device: torch.device) -> Run:
    """Fill `state` from the folder, and note in the record where and on what it goes on."""
    folder.restore(state)
    folder.write_recipe(run.recipe)
    notes = run.notes
    here = environment(device)
    if state.epochs or state.step:
        notes += (f"Resumed {_place(state)}.",)
        if here != run.environment:
            before = run.environment.model_dump_json()
            notes += (f"Resumed in another environment than {before}: the bits may differ.",)
    return run.model_copy(
        update={
            "status": "running",
            "epochs": tuple(state.epochs),
            "environment": here,
            "notes": notes,
        }
    )


def _tensorboard(folder: RunFolder) -> list[Observer]:
    """The event files' writer, where its extra is installed."""
    if not tensorboard_is_installed():
        return []
    return [TensorBoardObserver(folder.path / "tensorboard")]


def _place(state: TrainingState) -> str:
    """Where a training stands, in words."""
    if state.step:
        return f"in epoch {state.epoch} after step {state.step} of {state.steps_per_epoch}"
    return f"after epoch {len(state.epochs)}"


def _with_advice(error: DivergenceError, writer: _Writer) -> str:
    """What was seen, what is kept, and what to try."""
    recipe = writer.run.recipe
    kept = (
        f"The last good checkpoint, after epoch {len(writer.run.epochs)}, is kept. "
        if writer.run.epochs
        else ""
    )
    return (
        f"{error} {kept}Try a smaller --learning-rate (it was {recipe.learning_rate:g}), "
        f"a larger --eps (it was {recipe.eps:g}), or --weights scaled."
    )


def _check_batch_size(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse a batch that the training set cannot fill once."""
    rows = len(dataset.train)
    if recipe.batch_size > rows:
        msg = (
            f"batch_size is {recipe.batch_size}, but {dataset.name} has only {rows} training rows. "
            f"Use --batch-size {rows} or less."
        )
        raise RecipeError(msg)


def _refuse_other_kind(run: Run, dataset: Dataset) -> None:
    """Refuse data whose images or classes the network cannot take."""
    size = dataset.train.images.shape[1:]
    if size != run.data.image_size or len(dataset.classes) != len(run.data.classes):
        height, width = run.data.image_size
        msg = (
            f"{dataset.source}: images of {size[0]} x {size[1]} in {len(dataset.classes)} classes, "
            f"but the run's network takes {height} x {width} in {len(run.data.classes)}."
        )
        raise DataError(msg)


def _data_record(dataset: Dataset) -> DataRecord:
    """What the record keeps of the data."""
    height, width = dataset.train.images.shape[1:]
    return DataRecord(
        name=dataset.name,
        source=dataset.source,
        fingerprint=fingerprint(dataset),
        classes=dataset.classes,
        image_size=(height, width),
        train_rows=len(dataset.train),
        valid_rows=len(dataset.valid),
        test_rows=len(dataset.test),
        notes=dataset.notes,
        framing=asdict(Framing.of(dataset.train.images)),
    )
