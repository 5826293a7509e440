"""What was seen of a training loop, in a form that does not grow with its length."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from normscope.doctor._case import UnknownError
from normscope.stats import BatchSpread, Moments

_MOST_WAITING = 64
"""So many calls of a layer wait for a step, at most; then the older half is settled without one."""
_SAME = 1e-5
"""Means of one batch differ by no more, in deviations in every channel."""
_SAME_VALUE = 1e-3
"""Nor single values, which are rounded more than means are, where they are computed again."""
_PLACES = 4
"""Along each axis, of the values of a batch that are kept."""
_SURE = 0.999
"""Of the F distribution; what is beyond is not luck."""
_FAR = 5.0
"""Deviations; one channel that hardly varies within a batch shall not speak for all."""


def some_of(x: Tensor) -> Tensor:
    """Values from all over a tensor: at most four places along each axis, evenly spread; a view.

    Example:
        >>> some_of(torch.arange(10))
        tensor([0, 3, 6, 9])
    """
    return x[tuple(slice(None, None, -(-size // _PLACES)) for size in x.shape)]


@dataclass(eq=False)
class Pass:
    """One call of the whole model.

    Attributes:
        number: counted from 0 in the watch.
        needs_gradient: whether a backward could go through its output.
        reached: whether one did.
    """

    number: int
    needs_gradient: bool = False
    reached: bool = False


@dataclass(eq=False)
class Call:
    """One call of one batch norm that moved its running statistics.

    Attributes:
        rows: the moments, per channel, of the means of the rows.
        variance: the population variance of each channel over everything.
        values: some of its input, channels last: `some_of`.
        recording: whether autograd recorded it.
        weight: of this batch in the running statistics; 1 where these were begun anew.
        recalibrates: whether the momentum is one that only statistics collected anew have.
        passed: the pass of the whole model that it belongs to, if it does.
        needs_gradient: whether a backward could go through its output.
        reached: whether one did.
    """

    rows: Moments
    variance: Tensor
    values: Tensor
    recording: bool
    weight: float
    recalibrates: bool
    passed: Pass | None
    needs_gradient: bool = False
    reached: bool = False

    @property
    def finite(self) -> Tensor:
        """Whether the statistics of the batch are, as a tensor, so that nobody waits for it."""
        return (self.rows.mean.isfinite() & self.variance.isfinite()).all()

    @property
    def learned_from(self) -> bool:
        """Whether a backward went through it, as far as that can be told."""
        if self.reached or (self.passed is not None and self.passed.reached):
            return True
        through = self.needs_gradient or (self.passed is not None and self.passed.needs_gradient)
        return self.recording and not through

    def is_same_batch(self, other: "Call") -> bool:
        """Whether the other was given the very same values.

        Means alone do not tell: behind a batch norm and a linear map they are the same of every
        batch.
        """
        if self.rows.count != other.rows.count or self.values.shape != other.values.shape:
            return False
        unit = self.variance.sqrt().clamp(min=torch.finfo(self.variance.dtype).tiny)
        means = (self.rows.mean - other.rows.mean).abs() <= _SAME * unit
        values = (self.values - other.values).abs() <= _SAME_VALUE * some_of(unit)
        return bool(means.all() & values.all())


@dataclass
class Groups:
    """The updates that a layer's statistics had together before one step, over all steps.

    Attributes:
        count: how many groups there were.
        updates: in all of them.
        repeats: those in which a batch came again that had been there.
        passes: of the whole model, in all of them.
        several: groups in which there were two different batches or more.
        apart: of these, groups in which the means differ by more than the luck of the draw.
        distance: the sum over `several` of the square of how far the batches' true means are apart
            (their deviation, in deviations of the layer's input; an unbiased estimate).
        most: updates in the largest group.
        views: groups of two different batches that could be compared and were not apart.
    """

    count: int = 0
    updates: int = 0
    repeats: int = 0
    passes: int = 0
    several: int = 0
    apart: int = 0
    distance: float = 0.0
    most: int = 0
    views: int = 0

    def add(self, calls: Sequence[Call]) -> None:
        """One more group."""
        different: list[Call] = []
        for call in calls:
            if not any(call.is_same_batch(other) for other in different):
                different.append(call)
        self.count += 1
        self.updates += len(calls)
        self.repeats += len(calls) - len(different)
        self.passes += len({id(call.passed or call) for call in calls})
        self.most = max(self.most, len(calls))
        if len(different) > 1:
            self.several += 1
            apart = self._compare(different)
            self.apart += apart is True
            self.views += apart is False and len(calls) == 2

    def _compare(self, calls: Sequence[Call]) -> bool | None:
        """Whether batches are of several distributions; None where nothing tells."""
        if sum(call.rows.count for call in calls) <= len(calls):
            return None  # one row each: nothing tells how rows vary
        spread = BatchSpread.of([call.rows for call in calls])
        within = torch.stack([call.rows.m2 for call in calls]).sum(dim=0) / spread.degrees[1]
        total = torch.stack([call.variance for call in calls]).mean(dim=0)
        sizes = torch.tensor([float(call.rows.count) for call in calls])
        n0 = float((sizes.sum() - sizes.square().sum() / sizes.sum()) / spread.degrees[0])
        between = ((spread.f - 1) * within / n0 / total)[(within > 0) & (total > 0)]
        between = between[between.isfinite()].clamp(max=_FAR**2)
        if not between.numel():
            return None
        self.distance += float(between.mean())
        # Not the median: a shift has a direction, and may leave half of the channels alone.
        upper = float(spread.f[spread.f.isfinite()].quantile(0.75))
        # Takes longer to import than all of stats.
        import scipy.special  # type: ignore[import-untyped]  # noqa: PLC0415

        return upper > float(scipy.special.fdtri(*spread.degrees, _SURE))

    @property
    def deviations(self) -> float:
        """How far apart the batches of one step are: between their means, in deviations."""
        return max(self.distance / self.several, 0.0) ** 0.5 if self.several else 0.0

    @property
    def is_two_views(self) -> bool:
        """Whether most groups are two different batches of one distribution."""
        return 2 * self.views > self.count

    @property
    def per_step(self) -> float:
        """Updates in the middle of a step."""
        return self.updates / self.count if self.count else 0.0


@dataclass
class Strays:
    """Updates from which nothing was learned: no backward went through them.

    Attributes:
        before: the first step.
        between: two steps.
        after: the last step, or without any.
        blocks: groups that had some.
        alone: those of `between` that autograd recorded, and that were the only one in their group:
            such as batches of the training that were skipped.
        share: their weight in the running statistics as these are now.
        peak: that weight where it was largest.
        recalibrating: not counted above: statistics that were collected anew.
    """

    before: int = 0
    between: int = 0
    after: int = 0
    blocks: int = 0
    alone: int = 0
    share: float = 0.0
    peak: float = 0.0
    recalibrating: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return self.before + self.between + self.after


@dataclass
class Modes:
    """In which mode a layer was in the passes of the steps.

    Attributes:
        training: steps in which it normalized by its batch.
        eval: steps in which the whole model was in eval mode.
        frozen: steps in which it was in eval mode and the model in training mode.
        eval_after_training: those of `eval` after one of `training`.
        first_eval: the number of the first of these, from 0.
        thawed: steps of `training` after it had been frozen, while nobody asked for gradients
            where none had been asked for.
        froze_at_entry: whether it was frozen when the watch began.
        asked: whether its parameters asked for gradients while it was frozen.
    """

    training: int = 0
    eval: int = 0
    frozen: int = 0
    eval_after_training: int = 0
    first_eval: int = 0
    thawed: int = 0
    froze_at_entry: bool = False
    asked: bool = False

    def add(self, seen: set[str], step: int, *, asks: bool) -> None:
        """One more step."""
        if "training" in seen:
            self.training += 1
            unfrozen_on_purpose = asks and not self.asked
            if (self.frozen or self.froze_at_entry) and not unfrozen_on_purpose:
                self.thawed += 1
        elif "eval" in seen:
            self.eval += 1
            if self.training:
                if not self.eval_after_training:
                    self.first_eval = step
                self.eval_after_training += 1
        elif "frozen" in seen:
            self.frozen += 1
            self.asked = self.asked or asks


@dataclass
class LayerLog:
    """What was seen of one batch norm.

    Attributes:
        momentum: with which its statistics moved; None for the cumulative average.
        called: how often it was called in any mode.
        updates: how often its statistics moved.
        moved: how far the running mean is from where it was when the watch began, over the channels
            (root of the mean square), in deviations of then; 0 where it is not finite.
        weights_moved: whether a parameter of it, or the nearest weight before it, changed.
        groups: updates before each step.
        strays: updates from which nothing was learned.
        modes: in the passes of the steps.
    """

    momentum: float | None = None
    called: int = 0
    updates: int = 0
    moved: float = 0.0
    weights_moved: bool = True
    groups: Groups = field(default_factory=Groups)
    strays: Strays = field(default_factory=Strays)
    modes: Modes = field(default_factory=Modes)

    def settle(self, calls: Sequence[Call], *, steps: int, stepped: bool) -> None:
        """Sort the calls of one group into those that were learned from and strays."""
        kept, strays = [], []
        for call in calls:
            again = any(c.learned_from and c is not call and c.is_same_batch(call) for c in calls)
            stray = not call.learned_from and not again
            weight = 0.0 if call.recalibrates and stray else float(stray)
            share = self.strays.share * (1 - call.weight) + call.weight * weight
            self.strays.share, self.strays.peak = share, max(self.strays.peak, share)
            if not stray:
                kept.append(call)
            elif call.recalibrates:
                self.strays.recalibrating += 1
            else:
                strays.append(call)
                self._count_stray(steps, stepped=stepped)
        self.strays.blocks += bool(strays)
        self.strays.alone += stepped and steps > 0 and [c.recording for c in strays] == [True]
        if kept:
            self.groups.add(kept)

    def _count_stray(self, steps: int, *, stepped: bool) -> None:
        if not stepped:
            self.strays.after += 1
        elif steps == 0:
            self.strays.before += 1
        else:
            self.strays.between += 1


@dataclass(frozen=True)
class BadBatch:
    """The first batch that was not finite.

    Attributes:
        module: the first batch norm that was given it.
        passed: the number of the model's pass, from 0; of the layer's, where the loop calls parts
            of the model by themselves.
        step: how many steps had been made.
        skipped: whether the optimizer then made no step before the next pass (a gradient scaler
            does that); None where that is not known yet.
    """

    module: str
    passed: int
    step: int
    skipped: bool | None


@dataclass
class LoopLog:
    """What a watch saw.

    Attributes:
        layers: what was seen of each batch norm, by its path.
        steps: how many steps the optimizer made.
        passes: how often the model was called.
        bad: the first batch that was not finite, if there was one.
        bad_batches: how many calls of batch norms were given one.
        learned: whether any parameter of the model changed.
        dropout: whether dropout was at work in passes from which nothing was learned.
        ranks: how far the running means of the ranks are apart, in deviations, by path; None where
            there is one rank, or nobody asked.
    """

    layers: dict[str, LayerLog]
    steps: int = 0
    passes: int = 0
    bad: BadBatch | None = None
    bad_batches: int = 0
    learned: bool = False
    dropout: bool = False
    ranks: dict[str, float] | None = None
    _waiting: dict[str, list[Call]] = field(default_factory=dict)
    _order: list[tuple[str, int, Tensor]] = field(default_factory=list)
    _modes: dict[str, tuple[set[str], bool]] = field(default_factory=dict)

    def add(self, path: str, call: Call) -> None:
        """One call that moved statistics."""
        layer = self.layers[path]
        layer.updates += 1
        waiting = self._waiting.setdefault(path, [])
        waiting.append(call)
        number = call.passed.number if call.passed else layer.updates - 1
        self._order.append((path, number, call.finite))
        if len(waiting) > _MOST_WAITING:
            half, self._waiting[path] = waiting[: len(waiting) // 2], waiting[len(waiting) // 2 :]
            self._look_for_bad(stepped=False)
            layer.settle(half, steps=self.steps, stepped=False)

    def note_mode(self, path: str, mode: str, *, asks: bool) -> None:
        """In which mode a layer was called while autograd recorded."""
        seen, _ = self._modes.get(path, (set(), False))
        self._modes[path] = ({*seen, mode}, asks)

    def step(self) -> None:
        """The optimizer made a step: the group of calls before it is complete."""
        self._look_for_bad(stepped=True)
        for path, calls in self._waiting.items():
            self.layers[path].settle(calls, steps=self.steps, stepped=True)
        for path, (seen, asks) in self._modes.items():
            self.layers[path].modes.add(seen, self.steps, asks=asks)
        self._waiting, self._modes = {}, {}
        self.steps += 1

    def so_far(self) -> "LoopLog":
        """A copy, in which the calls that still wait for a step are settled without one."""
        settled = LoopLog(
            layers=copy.deepcopy(self.layers), steps=self.steps, passes=self.passes, bad=self.bad,
            bad_batches=self.bad_batches, learned=self.learned, dropout=self.dropout,
            ranks=self.ranks, _order=list(self._order),
        )  # fmt: skip
        settled._look_for_bad(stepped=False)
        for path, calls in self._waiting.items():
            settled.layers[path].settle(calls, steps=self.steps, stepped=False)
        return settled

    def _look_for_bad(self, *, stepped: bool) -> None:
        """Wait for the answers of all that were given since, once."""
        if not self._order:
            return
        answers = torch.stack([finite.cpu() for _, _, finite in self._order]).tolist()
        named = zip(answers, self._order, strict=True)
        bad = [(path, number) for finite, (path, number, _) in named if not finite]
        self.bad_batches += len(bad)
        if bad and self.bad is None:
            path, number = bad[0]
            later = self._order[-1][1] > number
            skipped = True if later else (False if stepped else None)
            self.bad = BadBatch(path, number, self.steps, skipped)
        self._order = []

    def seen(self) -> dict[str, LayerLog]:
        """What was seen of the batch norms that were called.

        Raises:
            UnknownError: if none was.
        """
        called = {path: layer for path, layer in self.layers.items() if layer.called}
        if not called:
            msg = (
                "no batch norm was called inside the watch (what was compiled before it cannot be "
                "watched)"
            )
            raise UnknownError(msg)
        return called

    def stepped(self) -> dict[str, LayerLog]:
        """What was seen of the batch norms that were called, where the optimizer made steps.

        Raises:
            UnknownError: if none was called, or no step was seen.
        """
        if not self.steps:
            msg = "no optimizer made a step inside the watch"
            raise UnknownError(msg)
        return self.seen()
