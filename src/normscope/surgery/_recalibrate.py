"""`recalibrate`: running statistics that are those of the data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._errors import InputError
from normscope.anatomy import (
    Forward,
    all_or_nothing,
    batch_norm_layers,
    batches_of,
    call,
    freeze_of,
    in_float64,
    own_errors,
    plainly,
    preserved,
    unwrapped,
)
from normscope.nn import set_population_statistics_by_passes
from normscope.records import Change, Left, Receipt
from normscope.stats import BatchSpread, Moments
from normscope.surgery._refusals import refuse_no_loader, refuse_no_model

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

    Where `torch.distributed` is initialized, the moments are merged over all ranks; all of them
    have to call.

    Left alone are layers that are frozen: by `freeze`, those whose parameters ask for no gradient,
    and those in eval mode inside a model in training mode; so are layers that track nothing or are
    not called.

    All or nothing: an exception on the way leaves the model as it was, and so does the call but for
    the statistics and ``num_batches_tracked``, which becomes the number of batches.

    Args:
        model: any; also wrapped (DDP, DataParallel) or compiled, which then runs uncompiled.
        loader: batches, gone through several times; one that can be gone through once is held in
            memory.
        forward: ``forward(model, batch)`` calls the model. By default with the batch, a tuple's
            first part, or the entries of a mapping that the model has parameters for.

    Returns:
        What was changed per layer, what was left and why; before and after: how far the statistics
        were off, and the accuracy where batches are pairs of inputs and class labels.

    Raises:
        InputError: if nothing can be recalibrated, the loader is empty or one batch, or a batch
            norm is given numbers that are not finite.
        NormscopeError: if another rank failed.
        OwnModelError: if the model raises on a batch.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
        >>> rows = 5 + 2 * torch.randn(100, 3)
        >>> receipt = recalibrate(model, rows.split(32))
        >>> receipt.changed[0].module, model(rows).mean(dim=0).abs().max() < 1e-4
        ('1', tensor(True))
    """
    refuse_no_model("recalibrate", model)
    refuse_no_loader("recalibrate", loader)
    batches, use = batches_of(loader), _telling(forward or call)
    wanted, left = _wanted(model)
    watch = _Watch(wanted)
    with preserved(model), plainly(model), torch.no_grad():
        model.eval()
        before = _accuracy(model, batches, use)
        set_population_statistics_by_passes(
            model, batches, forward=use, norms=wanted.values(), look=watch
        )
        called = {path: norm for path, norm in wanted.items() if path in watch.seen}
        exact = {path: _Statistics.of(norm) for path, norm in called.items()}
        _refuse_what_does_not_fit(exact)
        after = _accuracy(model, batches, use)
        count = sum(1 for _ in batches)
    left |= {path: "it was not called" for path in wanted if path not in called}
    if not called:
        raise InputError(_nothing(model, left))
    with all_or_nothing(model), torch.no_grad():
        old = {path: _Statistics.of(norm) for path, norm in called.items()}
        for path, norm in called.items():
            exact[path].write(norm, count)
        return Receipt(
            operation="recalibrate",
            changed=tuple(
                Change(module=path, change=old[path].told_from(exact[path])) for path in called
            ),
            left=tuple(Left(module=path, reason=why) for path, why in left.items()),
            notes=watch.notes(),
            before=_figures(old, exact) | before,
            after=_figures(exact, exact) | after,
        )


def _telling(forward: Forward) -> Forward:
    """The same call, in which what somebody's model raises becomes a sentence."""

    def use(model: nn.Module, batch: Any) -> Any:
        advice = "If it is called otherwise, pass forward=lambda model, batch: ..."
        with own_errors(model, "on a batch", advice, forward):
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

    def told_from(self, exact: "_Statistics") -> str:
        """How far these were off, in words."""
        return (
            f"its means were off by up to {self.shift(exact):.2g} deviations, its deviations by a "
            f"factor of up to {self.factor(exact):.3g}"
        )


def _wanted(model: nn.Module) -> tuple[dict[str, _BatchNorm], dict[str, str]]:
    """The batch norms to recalibrate by their paths, and why the others are not among them."""
    wanted, left = {}, {}
    training = unwrapped(model).training  # a wrapper starts in training mode, whatever it wraps
    for path, norm in batch_norm_layers(model).items():
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

    Attributes:
        seen: how many inputs each has been given, by path, in the order of the first.
    """

    def __init__(self, wanted: dict[str, _BatchNorm]) -> None:
        self._paths = {norm: path for path, norm in wanted.items()}
        self._rows: list[Moments] = []
        self.seen: dict[str, int] = {}

    def __call__(self, norm: _BatchNorm, x: Tensor) -> None:
        """Look at one input.

        Raises:
            InputError: if there is a number in it that is not finite.
        """
        path = self._paths[norm]
        self.seen[path] = number = self.seen.get(path, 0) + 1
        if not bool(x.isfinite().all()):
            msg = (
                f"{path or type(norm).__name__}: at its call {number} this batch norm is given "
                "numbers that are not finite. Look at that batch, at the weights, and at the "
                "statistics of frozen layers before it; nothing was changed."
            )
            raise InputError(msg)
        if len(self.seen) == 1:
            wide = in_float64(x)
            means = wide.flatten(2).mean(dim=2) if x.ndim > 2 else wide
            self._rows.append(Moments.of(means, [0]))

    def notes(self) -> tuple[str, ...]:
        """Whether the first layer's batches differ by more than the luck of the draw."""
        if len(self._rows) < 2 or sum(m.count for m in self._rows) <= len(self._rows):
            return ()
        spread = BatchSpread.of(self._rows)
        if not spread.is_wandering:
            return ()
        path = next(iter(self.seen))
        note = (
            f"The batches are not alike: their means at {path or 'the first layer'} wander by "
            f"{spread.typical_wander:.2g} deviations (F = {spread.typical_f:.3g}, median over "
            "channels). If training sees such batches, each normalized by itself, no running "
            "statistics can describe that: these are exact, and cure the symptom only. Shuffle the "
            "training data."
        )
        return (note,)


def _accuracy(model: nn.Module, batches: Iterable[Any], use: Forward) -> dict[str, float]:
    """Percent right, where batches are pairs of inputs and class labels; else nothing."""
    right = rows = 0
    for batch in batches:
        labels = _labels(batch)
        if labels is None:
            return {}
        logits = use(model, batch)
        if not isinstance(logits, Tensor) or logits.shape[:-1] != labels.shape:
            return {}
        right += int((logits.argmax(dim=-1) == labels.to(logits.device)).sum())
        rows += len(labels)
    return {"accuracy, percent": 100 * right / rows} if rows else {}


def _labels(batch: Any) -> Tensor | None:
    """What may be class labels: the second part of a batch, if it is one whole number per row."""
    labels = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    if not isinstance(labels, Tensor) or labels.ndim != 1:
        return None
    return None if labels.is_floating_point() or labels.dtype == torch.bool else labels


def _figures(found: dict[str, _Statistics], exact: dict[str, _Statistics]) -> dict[str, float]:
    """How far statistics are off, at worst over layers and channels."""
    return {
        "shift of a mean, in deviations": max(found[p].shift(exact[p]) for p in found),
        "factor of a deviation": max(found[p].factor(exact[p]) for p in found),
    }
