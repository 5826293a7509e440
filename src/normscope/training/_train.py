"""`train` and `resume`: from a recipe and data to a trained network, its record and its folder."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

from torch import nn

from normscope._errors import DivergenceError, OwnModelError, RecipeError, RunFolderError
from normscope.data import Dataset, Framing, fingerprint
from normscope.data import load as load_data
from normscope.nn import MLP, NoisyBatchNorm
from normscope.records import DataRecord, Recipe, Run, TestScores
from normscope.training._environment import choose_device, cpu_threads, environment
from normscope.training._evaluation import Rows, test_scores
from normscope.training._fitness import refuse_misfit, refuse_other_data, refuse_other_kind
from normscope.training._interrupts import stop_requests
from normscope.training._loop import fit
from normscope.training._memory import memory_errors
from normscope.training._network import build_optimizer, network_for
from normscope.training._observers import (
    Observer,
    StartObserver,
    StartView,
    refuse_what_cannot_look_on,
)
from normscope.training._own_model import own_model_errors
from normscope.training._progress import Progress
from normscope.training._random_state import Shielded, own_random_state
from normscope.training._run_folder import RunFolder, numbered
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

    network: nn.Module
    run: Run
    folder: Path | None


def dataset_of(recipe: Recipe, source: str | Path | None = None) -> Dataset:
    """Load the data that `recipe` names, or `source` in their place.

    Raises:
        DataError: if they cannot be used.
    """
    where = recipe.data if source is None else source
    return load_data(where, valid_fraction=recipe.valid_fraction)


def data_record(dataset: Dataset) -> DataRecord:
    """What the record keeps of the data."""
    pictures = dataset.train.pictures
    return DataRecord(
        name=dataset.name,
        source=dataset.source,
        fingerprint=fingerprint(dataset),
        classes=dataset.classes,
        image_size=dataset.train.images.shape[1:],
        train_rows=len(dataset.train),
        valid_rows=len(dataset.valid),
        test_rows=len(dataset.test),
        notes=dataset.notes,
        framing={} if pictures is None else asdict(Framing.of(pictures)),
    )


def train(
    recipe: Recipe | None = None,
    data: Dataset | str | Path | None = None,
    *,
    out: str | Path | None = None,
    number: bool = False,
    observers: Sequence[Observer] = (),
) -> TrainResult:
    """Train a network by `recipe` (the article's where absent).

    Args:
        recipe: what to do; its ``data`` is replaced by `data` where given.
        data: a `Dataset`, a built-in name or a path.
        out: a new folder for the record and the checkpoints; without it nothing is written.
        number: add the first free number to `out`: ``runs/mine-1``, ``runs/mine-2``, …
        observers: they look on; the result has the same bits without them.

    Raises:
        RecipeError: if the recipe does not fit the data or the machine's memory, or its own model
            raises.
        DataError: if the data cannot be used.
        InputError: if an observer lacks a method.
        RunFolderError: if `out` is taken.
        StorageError: if the disk refuses.
        DivergenceError: if a loss is not finite; the last good checkpoint is kept.
        TrainingInterruptedError: after Ctrl-C, if there is an `out` to save to.

    Example:
        >>> result = train(Recipe(hidden=(30,), epochs=2), "letters")
        >>> result.run.status, len(result.run.epochs), result.run.test.running.accuracy > 60
        ('complete', 2, True)
    """
    recipe = Recipe() if recipe is None else recipe
    _refuse_what_is_no_recipe(recipe)
    refuse_what_cannot_look_on(observers)
    dataset = data if isinstance(data, Dataset) else dataset_of(recipe, data)
    recipe = recipe.model_copy(update={"data": dataset.source})
    refuse_misfit(recipe, dataset)
    with ExitStack() as stack:
        stack.enter_context(cpu_threads(recipe.threads))
        run = _new_run(recipe, data_record(dataset))
        state = _fresh_state(run)
        if out is None:
            return _go_on(run, state, dataset, None, observers)
        folder = RunFolder(numbered(Path(out)) if number else Path(out))
        stack.enter_context(folder.begun(run))
        return _go_on(run, state, dataset, folder, observers)


def train_into(
    path: Path,
    recipe: Recipe,
    dataset: Dataset,
    record: DataRecord,
    *,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train into `path`, or take up what a training of the same recipe and data left there.

    For whoever trains many times on data that they loaded once; the bits are those of `train`.

    Args:
        path: a new folder, or one with an unfinished run.
        recipe: one that fits the data, and whose ``data`` is the data set's source.
        dataset: the data.
        record: their `data_record`.
        observers: they look on.
        stop: asked after every step whether to save and stop, in the place of Ctrl-C.

    Raises:
        RecipeError: if the machine's memory is too small, or a model of somebody's own raises.
        RunFolderError: if `path` holds a complete run, another's files, or a damaged checkpoint.
        StorageError: if the disk refuses.
        DivergenceError: if a loss is not finite; the last good checkpoint is kept.
        TrainingInterruptedError: after a stop.
    """
    with ExitStack() as stack:
        stack.enter_context(cpu_threads(recipe.threads))
        run, state, folder = opened(path, recipe, record, stack)
        return _go_on(run, state, dataset, folder, observers, stop)


def opened(
    path: Path, recipe: Recipe, record: DataRecord, stack: ExitStack
) -> tuple[Run, TrainingState, RunFolder]:
    """A new run in `path`, or the unfinished one there, its first state, and its folder.

    The folder is kept from other processes for as long as `stack` stands.

    Raises:
        RecipeError: if the machine's memory is too small.
        RunFolderError: if `path` holds a complete run or another's files, or is being trained into.
        StorageError: if the disk refuses.
    """
    folder, begun = RunFolder(path), (path / "run.json").exists()
    run = unfinished_run(path) if begun else _new_run(recipe, record)
    state = _fresh_state(run)
    stack.enter_context(folder.locked() if begun else folder.begun(run))
    return run, state, folder


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
        RecipeError: if a model of somebody's own raises.
        DataError: if the data cannot be used, or are not those that the run began with.
        InputError: if an observer lacks a method.
        StorageError: if the disk refuses.
        DivergenceError: if a loss is not finite; the last good checkpoint is kept.
        TrainingInterruptedError: after Ctrl-C.
    """
    refuse_what_cannot_look_on(observers)
    folder = RunFolder(Path(path))
    run = unfinished_run(path)
    dataset = data if isinstance(data, Dataset) else dataset_of(run.recipe, data)
    refuse_other_data(run, dataset, fingerprint(dataset))
    with cpu_threads(run.recipe.threads), folder.locked():
        return _go_on(run, _fresh_state(run), dataset, folder, observers)


def unfinished_run(path: str | Path) -> Run:
    """The record of a run that can be resumed.

    Raises:
        RunFolderError: if `path` holds no run, or a complete one.
    """
    run = Run.load(path)
    if run.status == "complete":
        msg = (
            f"{path}: this run is complete. Look at it with `normscope test {quote(str(path))}`; "
            "to train longer, begin a new run with more --epochs."
        )
        raise RunFolderError(msg)
    return run


def test_run(path: str | Path, data: Dataset | str | Path | None = None) -> TestScores:
    """Test the network of a run folder again, under three kinds of statistics.

    The population statistics are those of the run's own training set, also where other data are
    tested; classes are matched by their order.

    Args:
        path: the run folder; the newest checkpoint is tested, also of an unfinished run.
        data: other data than the run's, or where the run's are now.

    Raises:
        RunFolderError: if there is no run, or no checkpoint that can be read.
        DataError: if the data cannot be used, or have images or classes of another kind.
        RecipeError: if a model of somebody's own raises.
    """
    run = Run.load(path)
    network = RunFolder(Path(path)).load_network(run)
    dataset = data if isinstance(data, Dataset) else dataset_of(run.recipe, data)
    refuse_other_kind(run, dataset)
    trained_on = dataset
    if fingerprint(dataset) != run.data.fingerprint:
        trained_on = dataset_of(run.recipe)
        refuse_other_data(run, trained_on, fingerprint(trained_on))
    device = choose_device("auto" if run.recipe.device == "cuda" else run.recipe.device)
    with cpu_threads(run.recipe.threads), memory_errors(), own_model_errors(run.recipe):
        return test_scores(
            network.to(device),
            train=Rows.of(trained_on.train, device),
            test=Rows.of(dataset.test, device),
        )


def _refuse_what_is_no_recipe(recipe: object) -> None:
    """What decides a training is a recipe, not a word or a dict of it.

    Raises:
        RecipeError: saying how one is made.
    """
    if not isinstance(recipe, Recipe):
        what = f"the class {recipe.__name__}" if isinstance(recipe, type) else repr(recipe)[:80]
        msg = f'The recipe is {what}; make one, such as Recipe(norm="batch", epochs=20).'
        raise RecipeError(msg)


def _go_on(
    run: Run,
    state: TrainingState,
    dataset: Dataset,
    folder: RunFolder | None,
    observers: Sequence[Observer],
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train from wherever the folder's newest checkpoint stands to the end, and test."""
    device = state.losses.device
    progress, alone = Progress(run, state, folder), stop is None
    with ExitStack() as stack:
        if stop is None:
            # Without a folder there is nothing to save to, and Ctrl-C is Python's own.
            stop = stack.enter_context(stop_requests()) if folder else _never
        stack.enter_context(memory_errors())
        stack.enter_context(own_random_state(run.recipe.seed, device))
        progress.take_up(environment(device))
        train_rows, valid, test = (
            Rows.of(split, device) for split in (dataset.train, dataset.valid, dataset.test)
        )
        observers = looking_on(observers, progress, state, folder, stack)
        try:
            complete = fit(
                state,
                run.recipe,
                train=train_rows,
                valid=valid,
                observers=observers,
                save=progress.save,
                stop=stop,
            )
            if not complete:
                raise progress.interrupted()
            state.let_go_of_optimizer()
            with own_model_errors(run.recipe):
                scores = test_scores(state.network, train=train_rows, test=test)
        except DivergenceError as error:
            raise progress.diverged(error) from None
        except OwnModelError as error:
            raise progress.broken(error, alone=alone) from error.__cause__
        progress.write("complete", test=scores)
        return TrainResult(state.network.eval(), progress.run, folder.path if folder else None)


def looking_on(
    observers: Sequence[Observer],
    progress: Progress,
    state: TrainingState,
    folder: RunFolder | None,
    stack: ExitStack,
) -> list[Observer]:
    """`observers` and TensorBoard's, told of the start now, and of the end when `stack` closes."""
    everyone: list[Observer] = [*observers, *_tensorboard(folder)]
    if _may_draw(state.network):
        everyone = [Shielded(observer, state.losses.device) for observer in everyone]
    steps = len(state.epochs) * state.steps_per_epoch + state.step
    view = StartView(steps, state.network, folder.path if folder else None)
    for observer in everyone:
        observer.on_start(progress.run, state.steps_per_epoch)
        stack.callback(_end, observer, progress)
        if isinstance(observer, StartObserver):
            observer.on_ready(view)
    return everyone


def _may_draw(network: nn.Module) -> bool:
    """Whether the network may draw random numbers while it trains."""
    own = not isinstance(network, MLP)
    return own or any(isinstance(module, NoisyBatchNorm) for module in network.modules())


def _end(observer: Observer, progress: Progress) -> None:
    """Tell an observer that it is over, with the record as it then is."""
    observer.on_end(progress.run)


def _never() -> bool:
    return False


def _new_run(recipe: Recipe, record: DataRecord) -> Run:
    """The record of a run that is about to begin, here and now."""
    here = environment(choose_device(recipe.device))
    return Run(status="running", recipe=recipe, data=record, environment=here)


def _fresh_state(run: Run) -> TrainingState:
    """The state before the first step, from the recipe and its seed alone."""
    device = choose_device(run.recipe.device)
    with memory_errors():
        network = network_for(run.recipe, run.data).to(device)
        return TrainingState.fresh(
            network,
            build_optimizer(network, run.recipe),
            steps=run.data.train_rows // run.recipe.batch_size,
            device=device,
        )


def _tensorboard(folder: RunFolder | None) -> list[Observer]:
    """The event files' writer, where there is a folder and its extra is installed."""
    if folder is None or not tensorboard_is_installed():
        return []
    return [TensorBoardObserver(folder.path / "tensorboard")]
