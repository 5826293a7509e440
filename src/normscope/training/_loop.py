"""The loop: steps, epochs, validation (spec S8)."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from normscope._errors import DivergenceError
from normscope.records import EpochRecord, Recipe, Score
from normscope.training._captured import Step
from normscope.training._evaluation import Rows, evaluate
from normscope.training._network import set_learning_rate
from normscope.training._observers import Observer, StepView
from normscope.training._own_model import own_model_errors
from normscope.training._schedule import learning_rate
from normscope.training._state import TrainingState
from normscope.training._steps import make_step

_STEPS_BETWEEN_CHECKS = 100
"""On the CPU. Looking at the losses would wait for a GPU: there, only the end of an epoch looks."""


def fit(
    state: TrainingState,
    recipe: Recipe,
    *,
    train: Rows,
    valid: Rows,
    observers: Sequence[Observer],
    save: Callable[[], None],
    stop: Callable[[], bool],
) -> bool:
    """Train until the recipe's last epoch, or until `stop` says so.

    `save` is called whenever `state` is worth keeping: after every epoch, and before an early
    return. The order of the rows in an epoch is a function of seed and epoch alone, so a training
    taken up from any saved state goes on in the same bits.

    Returns:
        Whether the training is complete.

    Raises:
        DivergenceError: within a hundred steps after a loss (on a GPU at the end of the epoch), or
            at the end of an epoch a weight, buffer or moment, is not finite; what is not finite is
            never saved.
        OwnModelError: if the network is somebody's own, and raises.
    """
    step = make_step(state.network, state.optimizer, recipe.batch_size)
    if recipe.model:
        step = own_model_errors(recipe)(step)
    while state.epoch <= recipe.epochs:
        started = time.perf_counter() - state.seconds
        finished = _run_steps(state, step, recipe, train, observers, stop)
        refuse_divergence(state)
        if not finished:
            state.seconds = time.perf_counter() - started
            save()
            return False
        with own_model_errors(recipe):
            score = evaluate(state.network, valid)
        seconds = time.perf_counter() - started
        end_epoch(state, recipe, score, seconds=seconds, save=save, observers=observers)
        if stop():
            return state.epoch > recipe.epochs
    return True


def end_epoch(
    state: TrainingState,
    recipe: Recipe,
    score: Score,
    *,
    seconds: float,
    save: Callable[[], None],
    observers: Sequence[Observer],
) -> None:
    """Record the epoch whose last step is done, save, and tell.

    Args:
        state: taken to the beginning of the next epoch.
        recipe: the state's.
        score: on the validation rows.
        seconds: what the epoch took.
        save: called when the record is closed.
        observers: told when it is saved.

    Raises:
        DivergenceError: if the validation loss is not finite.
    """
    record = EpochRecord(
        epoch=state.epoch,
        train_loss=float(state.losses.double().mean()),
        train_accuracy=100 * int(state.correct) / (state.steps_per_epoch * recipe.batch_size),
        valid_loss=score.loss,
        valid_accuracy=score.accuracy,
        learning_rate=learning_rate(recipe, state.epoch),
        seconds=seconds,
    )
    if not math.isfinite(score.loss):
        msg = f"The validation loss is {score.loss} after epoch {state.epoch}."
        raise DivergenceError(msg)
    state.close_epoch(record)
    save()
    for observer in observers:
        observer.on_epoch(record)


def row_order(seed: int, epoch: int, rows: int) -> Tensor:
    """The order in which an epoch visits the training rows.

    A function of its arguments alone: no generator's state has to survive a kill.

    Example:
        >>> row_order(seed=0, epoch=1, rows=5)
        tensor([...])
    """
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(rows))


def _run_steps(
    state: TrainingState,
    step: Step,
    recipe: Recipe,
    train: Rows,
    observers: Sequence[Observer],
    stop: Callable[[], bool],
) -> bool:
    """Finish the epoch under way; False if a stop was asked for before its last step."""
    network, optimizer, epoch = state.network.train(), state.optimizer, state.epoch
    device = train.labels.device
    set_learning_rate(optimizer, learning_rate(recipe, epoch))
    order = row_order(recipe.seed, epoch, len(train.labels)).to(device)
    batches = order.split(recipe.batch_size)
    batch = None
    while state.step < state.steps_per_epoch:
        # One place for all batches, unless somebody looks on, who may keep what they are shown.
        batch = train.gather(batches[state.step], into=None if observers else batch)
        loss, correct = step(batch.images, batch.labels)
        state.losses[state.step] = loss
        state.correct += correct
        state.step += 1
        if observers:
            seen = (network, optimizer, batch.images, batch.labels, loss.clone())
            view = StepView(epoch, state.step, *seen)
            for observer in observers:
                observer.on_step(view)
        if state.step % _STEPS_BETWEEN_CHECKS == 0 and device.type == "cpu":
            _refuse_diverged_losses(state)
        if stop():
            return state.step == state.steps_per_epoch
    return True


def _refuse_diverged_losses(state: TrainingState) -> None:
    """Stop where a loss is not finite.

    Raises:
        DivergenceError: naming the first of them.
    """
    bad_losses = (~state.losses.isfinite()).nonzero()
    if len(bad_losses):
        step = int(bad_losses[0])
        msg = (
            f"The loss became {float(state.losses[step])} at step {step + 1} of "
            f"{state.steps_per_epoch} in epoch {state.epoch}."
        )
        raise DivergenceError(msg)


def refuse_divergence(state: TrainingState) -> None:
    """Stop before a state that is not finite can be saved.

    Raises:
        DivergenceError: naming the first loss that is not finite, or else the first tensor.
    """
    _refuse_diverged_losses(state)
    for name, tensor in state.named_tensors():
        # The extremes are NaN or infinite if anything is, and are found without a copy.
        if not torch.stack(tensor.aminmax()).isfinite().all():
            msg = (
                f"{name} is not finite after step {state.step} of {state.steps_per_epoch} in "
                f"epoch {state.epoch}, though the losses so far are."
            )
            raise DivergenceError(msg)
