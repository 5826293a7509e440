"""Several trainings that differ in the seed alone, as one program.

A step of one such network is so little work to a GPU that most of the device looks on. The steps of
ten fill it: see `WrittenOutStep`, which makes them at once, and to which the networks' parameters,
running statistics and moments are views of a few large tensors. So each of them can be evaluated,
saved and resumed by itself at any time, as if it were alone.

Where there is CUDA, the step is captured as a graph. Everything here runs on a CPU just the same.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from normscope._errors import DivergenceError, NormscopeError, RunFolderError, StorageError
from normscope.data import Dataset
from normscope.nn import MLP
from normscope.records import DataRecord, Recipe, Run, Score
from normscope.training._environment import cpu_threads, environment
from normscope.training._evaluation import Rows, evaluate, test_scores
from normscope.training._loop import end_epoch, refuse_divergence, row_order
from normscope.training._memory import memory_errors
from normscope.training._network import set_learning_rate
from normscope.training._observers import Observer
from normscope.training._progress import Progress
from normscope.training._random_state import own_random_state
from normscope.training._schedule import learning_rate
from normscope.training._state import TrainingState
from normscope.training._steps import hastened
from normscope.training._train import looking_on, opened
from normscope.training._written_out import WrittenOutStep


@dataclass
class Training:
    """One of several.

    Attributes:
        path: its folder.
        recipe: what it does.
        state: where it stands.
        progress: its record, and how it is saved.
        observers: told of its epochs, but not of its steps.
        error: what has ended it; from then on it is left alone.
    """

    path: Path
    recipe: Recipe
    state: TrainingState
    progress: Progress
    observers: Sequence[Observer]
    error: NormscopeError | None = None

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """What goes wrong inside the block ends this training, and no other."""
        try:
            yield
        except DivergenceError as error:
            with self.own_errors():  # the disk may refuse the record of it
                self.error = self.progress.diverged(error)
        except StorageError as error:
            self.error = error

    def keep(self, score: Score | None, seconds: float) -> None:
        """Save: at the end of an epoch, of which there is a score, or in the middle of one."""
        with self.own_errors():
            if score is None:
                self.state.seconds = seconds
                self.progress.save()
            else:
                end_epoch(
                    self.state,
                    self.recipe,
                    score,
                    seconds=seconds,
                    save=self.progress.save,
                    observers=self.observers,
                )

    def finish(self, train: Rows, test: Rows) -> None:
        """Test, or note that the training was stopped."""
        with self.own_errors():
            if self.state.epoch > self.recipe.epochs:
                scores = test_scores(self.state.network, train=train, test=test)
                self.progress.write("complete", test=scores)
            else:
                self.error = self.progress.interrupted()

    @property
    def news(self) -> tuple[Path, Run | NormscopeError]:
        """Its folder, and its record as it now is, or what has ended it."""
        return self.path, self.error or self.progress.run


def train_together(
    recipes: Mapping[Path, Recipe],
    dataset: Dataset,
    record: DataRecord,
    *,
    stop: Callable[[], bool],
) -> Generator[tuple[Path, Run | NormscopeError]]:
    """Train into several folders at once, each new or with an unfinished run of the same recipe.

    Every run makes the steps of `train_into` to the rounding of float32. Bits are not promised, and
    training magnifies rounding: little at a learning rate of 0.001, much at 0.02. Those that stand
    at the same step go on as one program; where a kill has left some of them behind, one such group
    after another.

    Args:
        recipes: by folder; they differ in the seed alone, and fit the data.
        dataset: the data.
        record: their `data_record`.
        stop: asked after every step whether to save and stop.

    Yields:
        A folder, and its record as it now is: at the start, after every epoch, and complete at the
        end. Or the error that has ended this run, while the others go on.

    Raises:
        RecipeError: if the memory is too small for all of them.
        StorageError: if an observer cannot close its files.
    """
    with ExitStack() as stack:
        stack.enter_context(memory_errors())
        stack.enter_context(cpu_threads(next(iter(recipes.values())).threads))
        by_place: dict[tuple[int, int], list[Training]] = {}
        for path, recipe in recipes.items():
            try:
                training = _begun(path, recipe, record, stack)
            except (RunFolderError, StorageError) as error:
                yield path, error
                continue
            place = training.state.epoch, training.state.step
            by_place.setdefault(place, []).append(training)
            yield training.news
        if not by_place:
            return
        device = training.state.losses.device
        train, valid, test = (
            Rows.of(split, device) for split in (dataset.train, dataset.valid, dataset.test)
        )
        for group in by_place.values():
            for training in fit_together(group, train=train, valid=valid, stop=stop):
                yield training.news
            for training in group:
                if not training.error:
                    training.finish(train, test)
                    yield training.news


def fit_together(
    trainings: Sequence[Training], *, train: Rows, valid: Rows, stop: Callable[[], bool]
) -> Iterator[Training]:
    """What `fit` is to one training, to several that stand at the same step.

    Inside an epoch nothing waits for the device. At its end every network is looked at: one that
    is not finite, or cannot be saved, is out with its `error`, and the step computes its slice on
    and on to no effect. An epoch's seconds are its wall time divided by the trainings in it.

    Yields:
        A training, after each of its epochs, or when it is out.
    """
    program, recipe, going = _Program(trainings, train), trainings[0].recipe, list(trainings)
    while going and going[0].state.epoch <= recipe.epochs:
        taking_part, before = len(going), sum(training.state.seconds for training in going)
        started = time.perf_counter() - before
        finished = program.run_epoch(going, stop)
        for training in going:
            with training.own_errors():
                refuse_divergence(training.state)
        sound = [training for training in going if not training.error]
        scores = [evaluate(t.state.network, valid) if finished else None for t in sound]
        seconds = (time.perf_counter() - started) / taking_part
        for training, score in zip(sound, scores, strict=True):
            training.keep(score, seconds)
        yield from (training for training in going if finished or training.error)
        going = [training for training in going if not training.error]
        if not finished or stop():
            return


class _Program:
    """A step of all networks, on rows that each of them has in an order of its own.

    Args:
        trainings: the states' losses and counts become views of what the step leaves.
        train: the rows that they share.
    """

    def __init__(self, trainings: Sequence[Training], train: Rows) -> None:
        states, self._recipe = [training.state for training in trainings], trainings[0].recipe
        self._seeds = [training.recipe.seed for training in trainings]
        self._train, self._device = train, train.labels.device
        self._states = states
        rows, networks = self._recipe.batch_size, len(states)
        step = WrittenOutStep(
            [_built_in(state.network) for state in states],
            [state.optimizer for state in states],
            rows,
        )

        def apart(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return step(images.view(rows, networks, -1), labels.view(rows, networks))

        self._step = hastened(apart, on_gpu=self._device.type == "cuda")
        # One place for all batches: a graph reads them where it was recorded.
        self._batch = Rows(
            train.images.new_empty(rows * networks, *train.images.shape[1:]),
            train.labels.new_empty(rows * networks),
        )
        self._losses = torch.stack([state.losses for state in states])
        self._correct = torch.stack([state.correct for state in states])
        for state, losses, correct in zip(states, self._losses, self._correct, strict=True):
            state.losses, state.correct = losses, correct

    def run_epoch(self, going: Sequence[Training], stop: Callable[[], bool]) -> bool:
        """Finish the epoch under way; False if a stop was asked for before its last step."""
        epoch, step = going[0].state.epoch, going[0].state.step
        steps = going[0].state.steps_per_epoch
        for state in self._states:
            state.network.train()
            set_learning_rate(state.optimizer, learning_rate(self._recipe, epoch))
        orders = [row_order(seed, epoch, len(self._train.labels)) for seed in self._seeds]
        batches = torch.stack(orders, 1).to(self._device).split(self._recipe.batch_size)
        stopped = False
        while step < steps and not stopped:
            self._train.gather(batches[step].flatten(), into=self._batch)
            losses, correct = self._step(self._batch.images, self._batch.labels)
            self._losses[:, step] = losses
            self._correct += correct
            step += 1
            stopped = stop()
        for training in going:
            training.state.step = step
        return step == steps


def _built_in(network: nn.Module) -> MLP:
    """The network, which is of the one kind whose steps are written out."""
    assert isinstance(network, MLP)
    return network


def _begun(path: Path, recipe: Recipe, record: DataRecord, stack: ExitStack) -> Training:
    """A run in its folder, taken to where its newest checkpoint stands."""
    run, state, folder = opened(path, recipe, record, stack)
    progress = Progress(run, state, folder)
    with own_random_state(recipe.seed, state.losses.device):  # a checkpoint brings one of its own
        progress.take_up(environment(state.losses.device))
    observers = looking_on([], progress, state, folder, stack)
    return Training(path, run.recipe, state, progress, observers)
