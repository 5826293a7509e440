"""A batch norm that has one value, or a few, to take a mean and a variance of.

## What it finds

How many numbers every batch norm that is trained has per channel: rows times positions, not the
batch size. One value has no variance, and PyTorch raises; it also looks, by arithmetic, at the last
batch of the loader, which may be of one row, and at what each device of a `DataParallel` is given.
With fewer than sixteen in most
batches it measures how far what the layer gives out is from what it would be with
the statistics of all batches together.

## Why it matters

The mean of n values has a standard error of 1/√n deviations: 0.5 for four. That noise goes into
every output of the layer, and eval mode is without it. The running variance is that of batches times
n/(n − 1): twice as much for two, so that eval mode scales by another factor than training.
Accumulating gradients does not help: every small batch is normalized by itself.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> rows = torch.utils.data.TensorDataset(torch.randn(65, 4))
    >>> loader = torch.utils.data.DataLoader(rows, batch_size=16)
    >>> check(torch.nn.BatchNorm1d(4), loader, most_batches=2).of("NS402")[0].message
    'Has one value per channel in the last batch of an epoch of this loader: in training ...'

## Fix

For a last batch of one row: ``DataLoader(..., drop_last=True)``. For a branch that averages over all
positions first: leave the norm out there, or use `torch.nn.GroupNorm` or `torch.nn.LayerNorm`.
Otherwise larger batches, `torch.nn.SyncBatchNorm` over several devices, or, when fine-tuning,
`normscope.freeze(model)`.

## On purpose

Batches of one or two large pictures, as in pix2pix, have thousands of values per channel. A model
that is handed over in eval mode without its optimizer gets an info.

## Symptoms

- ValueError: Expected more than 1 value per channel when training, got input size torch.Size([1, 256, 1, 1])
- expected more than 1 value per channel when training
- error at the last batch of an epoch
- training fails on several GPUs only
- batch size 1 or 2, gradient accumulation is worse than a large batch
- a small batch size hurts accuracy
- accuracy in eval mode is worse with small batches

## References

- pytorch/pytorch#7716, fastai/fastai#1352, openvinotoolkit/nncf#379: a last batch of one row
- jfzhang95/pytorch-deeplab-xception#143, yassouali/pytorch-segmentation#8: global pooling before it
- pytorch/pytorch#18563, pyg-team/pytorch_geometric#1408: one row on one of the devices
- ultralytics/yolov5#1630, pytorch/pytorch#46516: accumulated gradients
- pyg-team/pytorch_geometric#5530: batches of small graphs
"""  # noqa: E501 - the words that PyTorch raises

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed
from torch import nn

from normscope.anatomy import RunningNorm
from normscope.doctor._batches import rows_of_last_batch, smallest_share
from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._sights import Sight
from normscope.doctor._trained import in_training, trained_batch_norms
from normscope.records import Evidence
from normscope.stats import Moments, merge_all

_FEW = 16
_NOISE = 0.25
"""What 1/√n is for n = 16, in deviations."""
_FEWEST_BATCHES = 3
"""That a noise can be measured in."""

_FIX_ONE = (
    "For a last batch of one row: DataLoader(..., drop_last=True). For a branch that pools all "
    "positions: leave out its batch norm, or use torch.nn.GroupNorm or torch.nn.LayerNorm. To "
    "train with frozen statistics: normscope.freeze(model)."
)
_FIX_FEW = (
    "Use larger batches (accumulating gradients does not help), torch.nn.GroupNorm or "
    "torch.nn.LayerNorm in this place, torch.nn.SyncBatchNorm over several devices, or "
    "normscope.freeze(model) for a model that is fine-tuned."
)


def find(case: Case) -> Iterator[Found]:
    """Yield a finding for the layers with one value, and one for those with few."""
    sights = case.observation.eval_sights.of
    layers = [
        _Layer.of(case, norm, sights[path])
        for path, norm in trained_batch_norms(case).items()
        if path in sights
    ]
    trains = in_training(case)
    if ones := [layer for layer in layers if layer.fewest == 1]:
        yield _one(ones, trains=trains)
    if few := [layer for layer in layers if 1 < layer.typical < _FEW]:
        yield _few(few, trains=trains)


def _one(layers: "Sequence[_Layer]", *, trains: bool) -> Found:
    """The finding for layers that are given one value per channel."""
    raises = "in training PyTorch raises" if trains else "trained on that, PyTorch would raise"
    return Found(
        severity="error" if trains else "info",
        module=layers[0].path,
        message=f"Has one value per channel in {layers[0].where_one}: {raises}.{_more(layers)}",
        fix=_FIX_ONE,
        evidence={"layers": len(layers)} | layers[0].evidence(),
    )


def _few(layers: "Sequence[_Layer]", *, trains: bool) -> Found:
    """The finding for layers that are given fewer than sixteen."""
    worst = max(layers, key=lambda layer: layer.noise or 0)
    harmed = worst.noise is not None and worst.noise > _NOISE
    n = worst.typical
    measured = (
        f" What it gives out is {worst.noise:.2g} deviations from what it would be with the "
        f"statistics of all {worst.batches} batches."
        if worst.noise is not None
        else ""
    )
    return Found(
        severity="warning" if trains and harmed else "info",
        module=worst.path,
        message=(
            f"Has {n} values per channel in most batches: the standard error of its means is "
            f"{n**-0.5:.2g} deviations, and its running variance {n / (n - 1):.3g} times what it "
            f"normalizes by.{measured}{_more(layers)}"
        ),
        fix=_FIX_FEW,
        evidence={"layers": len(layers)} | worst.evidence(),
    )


def _more(layers: "Sequence[_Layer]") -> str:
    return f" So it is with {len(layers) - 1} more." if len(layers) > 1 else ""


@dataclass(frozen=True)
class _Layer:
    """How many values per channel a batch norm has.

    Attributes:
        path: of the layer.
        fewest_seen: over the batches that were looked at, also across devices.
        typical: the median over them.
        last: in the last batch of an epoch, by arithmetic; None if nobody can tell.
        noise: how far the layer's outputs are from those with the statistics of all batches, the
            root mean square; None where there are too few batches.
        batches: how many were looked at.
    """

    path: str
    fewest_seen: int
    typical: int
    last: int | None
    noise: float | None
    batches: int

    @classmethod
    def of(cls, case: Case, norm: RunningNorm, sights: Sequence[Sight]) -> "_Layer":
        ranks = _ranks(norm.module)
        counts = sorted(
            _on_one_device(sight.values_per_channel, sight.shape[0], case.replicas) * ranks
            for sight in sights
        )
        return cls(
            norm.path,
            counts[0],
            counts[len(counts) // 2],
            _in_last_batch(case, sights, ranks),
            _noise([sight.moments for sight in sights if sight.moments is not None]),
            len(sights),
        )

    @property
    def fewest(self) -> int:
        """The fewest, the last batch of an epoch included."""
        return self.fewest_seen if self.last is None else min(self.last, self.fewest_seen)

    @property
    def where_one(self) -> str:
        """Which batch has one value per channel."""
        seen = self.fewest_seen == 1
        return "a batch of this loader" if seen else "the last batch of an epoch of this loader"

    def evidence(self) -> dict[str, Evidence]:
        """As numbers."""
        n = self.typical
        evidence: dict[str, Evidence] = {
            "fewest values per channel": self.fewest,
            "median values per channel": n,
            "standard error of a mean, deviations": n**-0.5,
        }
        if n > 1:
            evidence["running variance, factor"] = n / (n - 1)
        if self.noise is not None:
            evidence["noise of the outputs, deviations"] = self.noise
        return evidence


def _ranks(norm: nn.Module) -> int:
    """Over how many processes a layer takes its mean."""
    together = isinstance(norm, nn.SyncBatchNorm) and torch.distributed.is_available()
    if together and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


def _on_one_device(values: int, rows: int, replicas: int) -> int:
    """How many of a batch's values the device has that is given the fewest."""
    return values // max(rows, 1) * smallest_share(rows, replicas) if rows else values


def _in_last_batch(case: Case, sights: Sequence[Sight], ranks: int) -> int | None:
    """How many values per channel the last batch of an epoch has, if rows have a number of them."""
    rows = rows_of_last_batch(case.loader)
    sizes = {batch.number: batch.rows for batch in case.observation.batches}
    per_row = {(sight.values_per_channel, sizes[sight.batch]) for sight in sights}
    shares = {values / size if size else math.nan for values, size in per_row}
    if rows is None or len(shares) != 1:
        return None
    share = shares.pop()
    return int(share) * smallest_share(rows, case.replicas) * ranks if share >= 1 else None


def _noise(batches: Sequence[Moments]) -> float | None:
    r"""How far outputs are from those with the statistics of all batches, in deviations.

    The root mean square over values and batches, the median over channels:

    .. math:: \sqrt{\frac{1}{k} \sum_i \left( \frac{(\bar x_i - \bar x)^2}{s^2}
              + \left( 1 - \frac{s_i}{s} \right)^2 \right)}
    """
    if len(batches) < _FEWEST_BATCHES:
        return None
    whole = merge_all(batches)
    deviation = whole.population_variance.sqrt()
    means = torch.stack([batch.mean for batch in batches])
    deviations = torch.stack([batch.population_variance for batch in batches]).sqrt()
    squares = ((means - whole.mean) / deviation).square() + (1 - deviations / deviation).square()
    noise = float(squares.mean(dim=0).nanmedian().sqrt())
    return noise if math.isfinite(noise) else None
