"""A model at work on its data, in at most three passes per batch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils import _pytree as pytree

from normscope._errors import InputError, NormscopeError, OwnModelError
from normscope._factories import told
from normscope.anatomy import (
    Forward,
    Outcome,
    batch_norm_layers,
    classes_of,
    first_batches,
    normalizing_by_batch,
    outcome_of,
    plainly,
    preserved,
    random_states_kept,
)
from normscope.doctor._functional_calls import FunctionalCall, noting_functional_calls
from normscope.doctor._sights import Sights, looking

_KEPT_BYTES = 256 * 2**20
"""Batches are kept for the third pass as long as they are not larger than this."""


@dataclass(frozen=True, eq=False)
class Passed:
    """One batch that went through the model.

    Attributes:
        number: of the batch, from 0.
        rows: how many there are; 0 where that cannot be told.
        classes: the label of every row, where there are labels.
        running: what the model answered in eval mode.
        by_batch: what it answered with batch statistics; None where a batch norm had one value
            per channel, which has no variance.
        values: the batch itself, where there was room to keep it.
    """

    number: int
    rows: int
    classes: Tensor | None
    running: Outcome | None
    by_batch: Outcome | None
    values: Any | None


@dataclass
class Observation:
    """What was seen.

    Attributes:
        model: which is back as it was when the check ends, and in eval mode until then.
        forward: how it is called.
        norms: its batch norms by their paths.
        batches: those that went through it, in order.
        complete: whether these are all that the loader has.
        eval_sights: what norm layers were given in eval mode.
        batch_sights: what they were given with batch statistics, dropout off.
        functional_calls: batch norms that are computed outside any module of the model.
        too_few: numbers of the batches in which a batch norm had one value per channel and the
            model raised.
    """

    model: nn.Module
    forward: Forward
    norms: dict[str, _BatchNorm]
    batches: list[Passed] = field(default_factory=list)
    complete: bool = True
    eval_sights: Sights = field(default_factory=Sights)
    batch_sights: Sights = field(default_factory=Sights)
    functional_calls: list[FunctionalCall] = field(default_factory=list)
    too_few: dict[int, str] = field(default_factory=dict)
    _spare: list[Passed] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows the batches have together."""
        return sum(batch.rows for batch in self.batches)

    def notes(self) -> tuple[str, ...]:
        """What the batches say is right and could not be used, or not all of it."""
        judged = [(b.number, b.by_batch or b.running) for b in self.batches]
        unfit = [(number, each) for number, each in judged if each is not None and each.unfit]
        dropped = [(number, each.unfit) for number, each in unfit if each.scores is None]
        partly = [(number, each.unfit) for number, each in unfit if each.scores is not None]
        told = []
        for some, consequence in (
            (dropped, "There is no accuracy of them"),
            (partly, "Those count as wrong"),
        ):
            if some:
                number, why = some[0]
                told.append(
                    f"Labels do not fit in {len(some)} of {len(self.batches)} batches; in batch "
                    f"{number} (counted from 0) {why}. {consequence}."
                )
        return tuple(told)

    def spare(self) -> Passed | None:
        """A batch that may go through the model once more; each is handed out once."""
        return self._spare.pop(0) if self._spare else None

    @property
    def spare_batches(self) -> int:
        """How many batches may still go through the model once more."""
        return len(self._spare)

    def again(
        self, batch: Passed, mode: AbstractContextManager[None], sights: Sights | None = None
    ) -> Outcome | None:
        """Let a spare batch through once more, with the model in another mode.

        Args:
            batch: as `spare` gave it.
            mode: entered around the pass; the model is in eval mode before.
            sights: takes what the norm layers are given.

        Returns:
            What the model answered; None where a batch norm had one value per channel.
        """
        seen = Sights() if sights is None else sights
        answer = self._pass(batch.number, batch.values, mode, seen)
        return None if answer is None else outcome_of(answer[0], batch.values)

    def add(self, number: int, values: Any, *, keep: bool) -> None:
        """Let one batch through, in eval mode and with batch statistics."""
        calls = noting_functional_calls(self.model, self.functional_calls, number)
        running = self._pass(number, values, calls, self.eval_sights)
        by_batch = None
        fewest = self._fewest_values(number)
        if running is not None and (fewest is None or fewest > 1):
            mode = normalizing_by_batch(list(self.norms.values()))
            by_batch = self._pass(number, values, mode, self.batch_sights)
        passed = Passed(
            number,
            _rows(values),
            classes_of(values),
            None if running is None else outcome_of(running[0], values),
            None if by_batch is None else outcome_of(by_batch[0], values),
            _copied(values) if keep else None,  # some loaders fill one tensor again and again
        )
        self.batches.append(passed)
        if keep and passed.by_batch is not None:
            self._spare.append(passed)

    def _fewest_values(self, number: int) -> int | None:
        """The smallest number of values per channel of a batch norm in this batch."""
        norms = {path: s for path, s in self.eval_sights.of.items() if path in self.norms}
        return Sights(norms).fewest_values(number)

    def _has_one_number(self, number: int) -> bool:
        """Whether a norm was given one number to normalize, for which torch raises."""
        instance = [p for p, m in self.model.named_modules() if isinstance(m, _InstanceNorm)]
        shapes = [
            s.shape for p in instance for s in self.eval_sights.of.get(p, []) if s.batch == number
        ]
        alone = any(torch.Size(shape[2:]).numel() == 1 for shape in shapes)
        return alone or self._fewest_values(number) == 1

    def _pass(
        self, number: int, values: Any, mode: AbstractContextManager[None], sights: Sights
    ) -> tuple[Any] | None:
        """What the model answers one batch with, in a tuple; None where it has too few values.

        Raises:
            NormscopeError: one of ours, as it is.
            OwnModelError: if it raises for another reason.
        """
        modules = dict(self.model.named_modules())
        try:
            with torch.no_grad(), mode, looking(modules, sights, number):
                return (self.forward(self.model, _copied(values)),)
        except NormscopeError as problem:
            if self._has_one_number(number):
                self.too_few[number] = str(problem)
                return None
            raise
        except Exception as problem:
            if self._has_one_number(number):
                self.too_few[number] = told(problem)
                return None
            msg = (
                f"{type(self.model).__name__}: on batch {number} of the loader (counted from 0) "
                f"the model raised {told(problem, self.forward)}. If it is called otherwise, pass "
                "forward=lambda model, batch: ..."
            )
            raise OwnModelError(msg) from problem


def observed(
    model: nn.Module, loader: Iterable[Any], forward: Forward, most_batches: int
) -> Observation:
    """Let the first batches of a loader through a model, which is in eval mode afterwards.

    For use inside `untouched`.

    Raises:
        InputError: if the loader is empty or an array, or the model has no numbers.
        OwnModelError: if the model raises.
    """
    if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
        msg = (
            f"{type(model).__name__} is on the meta device, where there are no numbers: move it to "
            "another (model.to_empty, load_state_dict), or check it without a loader."
        )
        raise InputError(msg)
    observation = Observation(model, forward, batch_norm_layers(model))
    _to_eval(model)
    room = _KEPT_BYTES
    for number, values in enumerate(first_batches(loader, most_batches)):
        room -= _bytes(values)
        observation.add(number, values, keep=room > 0)
    observation.complete = len(observation.batches) < most_batches
    return observation


@contextmanager
def untouched(model: nn.Module, loader: object = None) -> Iterator[None]:
    """Whatever a check does inside the block, afterwards nobody can tell that it was there.

    With a loader the parameters' values are kept too, and the random states that it draws from.

    Args:
        model: with everything that is wrapped around it.
        loader: a `DataLoader`, any other iterable, or nothing.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    inner = getattr(batch_sampler, "sampler", None)
    parts = (getattr(loader, name, None) for name in ("sampler", "dataset"))
    with (
        random_states_kept(loader, batch_sampler, inner, *parts),
        preserved(model, values=loader is not None),
        torch.inference_mode(mode=False),
        torch.no_grad(),
        plainly(model),
    ):
        yield


def _to_eval(model: nn.Module) -> None:
    """Put a model into eval mode; if an exported program is in it, which refuses, by the flags."""
    try:
        model.eval()
    except NotImplementedError:
        for module in model.modules():
            module.training = False


def _copied(values: Any) -> Any:
    """A batch whose tensors can be written: some models do."""
    return pytree.tree_map_only(
        Tensor, lambda x: x.detach().clone().requires_grad_(x.requires_grad), values
    )


def _rows(values: Any) -> int:
    first = next((leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor)), None)
    return 0 if first is None or not first.ndim else len(first)


def _bytes(values: Any) -> int:
    leaves: Sequence[Any] = pytree.tree_leaves(values)
    return sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
