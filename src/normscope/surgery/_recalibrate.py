"""`recalibrate`: running statistics that are those of the data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._errors import InputError
from normscope.anatomy import (
    CONSTANT,
    Forward,
    Measure,
    all_or_nothing,
    batch_norm_layers,
    batches_of,
    call,
    freeze_of,
    in_float64,
    outcome_of,
    own_errors,
    plain_path,
    plainly,
    preserved,
    unwrapped,
)
from normscope.nn import input_moments, merged_over_ranks, set_population_statistics_by_passes
from normscope.records import Change, Left, Receipt
from normscope.stats import BatchSpread, Moments, gathered, together
from normscope.surgery._refusals import refuse_no_loader, refuse_no_model

_SCORES: dict[Measure, str] = {
    "accuracy": "accuracy, percent",
    "squared error": "squared error, in variances of the targets",
    "loss": "loss",
}
_MISFIT = 0.01
"""Statistics that are further off than this afterwards, in deviations, are told of."""
_NONE = (
    "It has none among its registered modules; those in plain lists and dictionaries are not seen "
    "(use torch.nn.ModuleList)"
)


def recalibrate(
    model: nn.Module, loader: Iterable[Any], *, forward: Forward | None = None
) -> Receipt:
    r"""Give every batch norm of `model` the exact statistics of the loader's data, in place.

    Running mean and variance become the population's: of all rows and positions of a channel,
    divided by their number, merged in float64 (Chan), so that batches of unequal size, rows in any
    order, and a mean of 1e4 in float32 are no trouble. The statistics of a layer are taken in eval
    mode, with the layers before it normalizing by theirs already, as they will when the model is
    used. (`torch.optim.swa_utils.update_bn` averages the batches' variances with equal weights, in
    training mode.) That takes a pass for each layer, which ends there.

    Batches may call different layers (one norm per domain), and a layer several times: it gets the
    moments of all its calls. Where what it is given depends on its own statistics, they are set
    again until they agree, up to twenty times.

    Where `torch.distributed` is initialized, the moments are merged over all ranks; all of them
    have to call, and if one fails, all raise.

    Left alone are layers that are frozen: by `freeze`, those whose parameters ask for no gradient,
    and those in eval mode inside a model in training mode; so are layers that track nothing or are
    not called.

    All or nothing: an exception on the way leaves the model as it was, and so does the call but for
    the statistics and ``num_batches_tracked``, which becomes the number of batches, of all ranks.

    Args:
        model: any; also wrapped (DDP, DataParallel) or compiled, which then runs uncompiled.
        loader: batches, gone through several times; one that can be gone through once is held in
            memory.
        forward: ``forward(model, batch)`` calls the model. By default with the batch, a tuple's
            first part, or the entries of a mapping that the model has parameters for.

    Returns:
        What was changed per layer, what was left and why; how far the statistics were from the
        exact ones before, and how far they are from those of a last pass after; and how good the
        answers were and are, where batches say what is right.

    Raises:
        InputError: if nothing can be recalibrated, the loader is empty or one batch, or a batch
            norm is given numbers that are not finite.
        RankError: if another rank failed.
        OwnModelError: if the model raises on a batch.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
        >>> rows = 5 + 2 * torch.randn(100, 3)
        >>> receipt = recalibrate(model, rows.split(32))
        >>> receipt.changed[0].module, model(rows).mean(dim=0).abs().max() < 1e-4
        ('1', tensor(True))
    """
    with together():
        refuse_no_model("recalibrate", model)
        refuse_no_loader("recalibrate", loader)
        wanted, left = _wanted(model)
        with preserved(model), plainly(model), torch.no_grad():
            found = _measured(model.eval(), loader, forward or call, wanted)
        left |= {path: "it was not called" for path in wanted if path not in found.exact}
        if not found.exact:
            raise InputError(_nothing(model, left))
        with all_or_nothing(model), torch.no_grad():
            old = {path: _Statistics.of(wanted[path]) for path in found.exact}
            for path, exact in found.exact.items():
                exact.write(wanted[path], found.batches)
            receipt = Receipt(
                operation="recalibrate",
                changed=tuple(
                    Change(module=path, change=old[path].told_from(exact))
                    for path, exact in found.exact.items()
                ),
                left=tuple(Left(module=path, reason=why) for path, why in left.items()),
                notes=found.notes,
                before=_figures(old, found.exact) | found.before,
                after=_figures(found.exact, found.given) | found.after,
            )
            gathered("done")  # or no rank keeps what was written
    return receipt


@dataclass(frozen=True)
class _Measured:
    """What the passes over the data found.

    Attributes:
        exact: what layers are to normalize by, by path, as their buffers hold it.
        given: the statistics of what they are given when all of them do.
        before: how good the answers were, by the name of the measure.
        after: how good they are now.
        batches: how many there are, on all ranks.
        notes: what is to be said of the data.
    """

    exact: "dict[str, _Statistics]"
    given: "dict[str, _Statistics]"
    before: dict[str, float]
    after: dict[str, float]
    batches: int
    notes: tuple[str, ...]


def _measured(
    model: nn.Module, loader: Iterable[Any], forward: Forward, wanted: dict[str, _BatchNorm]
) -> _Measured:
    """Set the statistics of the wanted layers, in eval mode; measure before and after.

    Raises:
        InputError: as `recalibrate` does.
    """
    batches = _Batches(batches_of(loader))
    use, watch = _telling(forward, batches), _Watch(wanted, batches)
    before = _judged(model, batches, use).figures()
    count = sum(gathered(batches.number))
    norms = set_population_statistics_by_passes(
        model, batches, forward=use, norms=wanted.values(), look=watch
    )
    paths = {norm: path for path, norm in wanted.items()}
    exact = {paths[norm]: _Statistics.of(norm) for norm in norms}
    _refuse_what_does_not_fit(exact)
    with input_moments(norms) as seen:
        after = _judged(model, batches, use).figures()
    if after.get(_SCORES["squared error"], 0.0) > CONSTANT:
        before, after = {}, {}
    given = {
        paths[norms[place]]: exact[paths[norms[place]]].like(moments)
        for place, moments in merged_over_ranks(seen).items()
    }
    return _Measured(exact, given, before, after, count, watch.notes() + _misfits(exact, given))


def _misfits(exact: "dict[str, _Statistics]", given: "dict[str, _Statistics]") -> tuple[str, ...]:
    """What is to be said of layers that no statistics fit."""
    return tuple(
        f"{path or 'the model'}: even so, {exact[path].told_from(there, tense='are')}. "
        + (
            f"{exact[path].mean.dtype} holds no better ones: keep batch norms in float32."
            if exact[path].mean.dtype in (torch.float16, torch.bfloat16)
            else "What it is given depends on its own statistics, and they do not come to rest."
        )
        for path, there in given.items()
        if exact[path].shift(there) > _MISFIT or exact[path].factor(there) > 1 + _MISFIT
    )


class _Batches:
    """A loader's batches, and the number of the one that is being looked at, from 1."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self.number = 0

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self._batches, start=1):
            self.number = number
            yield batch


def _telling(forward: Forward, batches: _Batches) -> Forward:
    """The same call, in which what somebody's model raises becomes a sentence."""

    def use(model: nn.Module, batch: Any) -> Any:
        advice = "If it is called otherwise, pass forward=lambda model, batch: ..."
        with own_errors(model, f"on batch {batches.number}", advice, forward):
            return forward(model, batch)

    return use


@dataclass(frozen=True)
class _Statistics:
    """What a batch norm normalizes by in eval mode."""

    mean: Tensor
    variance: Tensor
    eps: float

    @classmethod
    def of(cls, norm: _BatchNorm) -> "_Statistics":
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return cls(norm.running_mean.clone(), norm.running_var.clone(), norm.eps)

    def write(self, norm: _BatchNorm, batches: int) -> None:
        """Make them the layer's, in place: what refers to its buffers sees them, too."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(self.mean)
        norm.running_var.copy_(self.variance)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(batches)

    def shift(self, exact: "_Statistics") -> float:
        """How far the mean is from the exact one, at worst: in deviations of the layer's input."""
        away = (in_float64(self.mean) - in_float64(exact.mean)).abs()
        return float((away / exact.deviation()).max())

    def factor(self, exact: "_Statistics") -> float:
        """By what factor the deviation is off, at worst."""
        ratio = self.deviation() / exact.deviation()
        return float(torch.maximum(ratio, 1 / ratio).max())

    def deviation(self) -> Tensor:
        """What the layer divides by."""
        return (in_float64(self.variance) + self.eps).sqrt()

    def like(self, moments: Moments) -> "_Statistics":
        """Those of other numbers, for the same layer."""
        device = self.mean.device
        return _Statistics(
            moments.mean.to(device), moments.population_variance.to(device), self.eps
        )

    def told_from(self, exact: "_Statistics", *, tense: str = "were") -> str:
        """How far these are off, in words."""
        return (
            f"its means {tense} off by up to {self.shift(exact):.2g} deviations, its deviations by "
            f"a factor of up to {self.factor(exact):.3g}"
        )


def _wanted(model: nn.Module) -> tuple[dict[str, _BatchNorm], dict[str, str]]:
    """The batch norms to recalibrate, by their plain paths, and why others are not among them."""
    wanted, left = {}, {}
    training = unwrapped(model).training  # a wrapper starts in training mode, whatever it wraps
    for raw, norm in batch_norm_layers(model).items():
        path = plain_path(model, raw)
        if norm.running_mean is None or norm.running_var is None:
            left[path] = "it has no running statistics"
        elif freeze_of(norm):
            left[path] = "it is frozen, by normscope.freeze"
        elif training and not norm.training:
            left[path] = "it is frozen: in eval mode inside a model in training mode"
        elif norm.affine and not any(p.requires_grad for p in norm.parameters()):
            left[path] = "it is frozen: its parameters ask for no gradient"
        else:
            wanted[path] = norm
    return wanted, left


def _refuse_what_does_not_fit(exact: dict[str, _Statistics]) -> None:
    """Half precision holds no number above 65,504.

    Raises:
        InputError: naming the layer whose buffers cannot hold its statistics.
    """
    for path, statistics in exact.items():
        if not bool(statistics.mean.isfinite().all() & statistics.variance.isfinite().all()):
            msg = (
                f"{path or 'the model'}: its statistics are too large for {statistics.mean.dtype}. "
                "Keep batch norms in float32: module.float(); nothing was changed."
            )
            raise InputError(msg)


def _nothing(model: nn.Module, left: dict[str, str]) -> str:
    reasons = "; ".join(f"{path or type(model).__name__}: {why}" for path, why in left.items())
    return f"recalibrate: there is no batch norm to recalibrate. {reasons or _NONE}."


class _Watch:
    """Looks at what the layers are given: that it is finite, and whether batches are alike.

    Args:
        wanted: the batch norms by their paths.
        batches: that they are given.
    """

    def __init__(self, wanted: dict[str, _BatchNorm], batches: _Batches) -> None:
        self._paths = {norm: path for path, norm in wanted.items()}
        self._batches = batches
        self._first: _BatchNorm | None = None
        self._means: dict[int, Moments] = {}
        self._sizes: dict[int, Moments] = {}

    def __call__(self, norm: _BatchNorm, x: Tensor) -> None:
        """Look at one input.

        Raises:
            InputError: if there is a number in it that is not finite.
        """
        batch = self._batches.number
        if not bool(x.isfinite().all()):
            msg = (
                f"{self._paths[norm] or type(norm).__name__}: in batch {batch} this batch norm is "
                "given numbers that are not finite. Look at that batch, at the weights, and at the "
                "statistics of frozen layers before it; nothing was changed."
            )
            raise InputError(msg)
        self._first = self._first or norm
        if norm is self._first and batch not in self._means:
            wide = in_float64(x).flatten(2) if x.ndim > 2 else in_float64(x)[..., None]
            center = wide.mean(dim=(0, 2), keepdim=True)
            self._means[batch] = Moments.of(wide.mean(dim=2), [0])
            self._sizes[batch] = Moments.of((wide - center).square().mean(dim=2).sqrt(), [0])

    def notes(self) -> tuple[str, ...]:
        """Whether the first layer's batches differ by more than the luck of the draw.

        In their means; or else in their deviations, by how far rows are from the mean of their
        batch (Levene 1960).
        """
        for what, by_batch in (("means", self._means), ("deviations", self._sizes)):
            batches = list(by_batch.values())
            if len(batches) < 2 or sum(m.count for m in batches) <= len(batches):
                return ()
            spread = BatchSpread.of(batches)
            if spread.is_wandering:
                return (self._note(what, spread),)
        return ()

    def _note(self, what: str, spread: BatchSpread) -> str:
        path = self._paths[self._first] if self._first is not None else ""
        units = "deviations" if what == "means" else "deviations of a row's distance"
        return (
            f"The batches are not alike: their {what} at {path or 'the first layer'} wander by "
            f"{spread.typical_wander:.2g} {units} (F = {spread.typical_f:.3g}, median over "
            "channels). If training sees such batches, each normalized by itself, no running "
            "statistics can describe that: these are exact, and cure the symptom only. Shuffle the "
            "training data."
        )


def _judged(model: nn.Module, batches: Iterable[Any], use: Forward) -> "_Judged":
    """How good the answers are. Every batch passes through the whole model, judged or not."""
    judged = _Judged(set(), 0.0, 0)
    for batch in batches:
        outcome = outcome_of(use(model, batch), batch)
        judged.measures.add(outcome.measure if outcome.scores is not None else "output")
        if outcome.scores is not None:
            judged.total += float(outcome.scores.sum())
            judged.rows += len(outcome.scores)
    everywhere = gathered(judged)
    return _Judged(
        set().union(*(theirs.measures for theirs in everywhere)),
        sum(theirs.total for theirs in everywhere),
        sum(theirs.rows for theirs in everywhere),
    )


@dataclass
class _Judged:
    """How good answers are, where batches say what is right.

    Attributes:
        measures: what they are judged by.
        total: of the scores, over the rows.
        rows: how many.
    """

    measures: set[Measure]
    total: float
    rows: int

    def figures(self) -> dict[str, float]:
        """The mean score by its name; nothing where not all batches are judged by one measure."""
        (measure, *others) = self.measures or {"output"}
        if others or measure == "output":
            return {}
        mean = self.total / self.rows
        return {_SCORES[measure]: 100 * mean if measure == "accuracy" else -mean}


def _figures(found: dict[str, _Statistics], exact: dict[str, _Statistics]) -> dict[str, float]:
    """How far statistics are off, at worst over layers and channels."""
    return {
        "shift of a mean, in deviations": max(found[path].shift(exact[path]) for path in exact),
        "factor of a deviation": max(found[path].factor(exact[path]) for path in exact),
    }
