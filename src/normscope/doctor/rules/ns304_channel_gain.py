"""Channels that a batch norm blows up, or fills with a constant that nobody meant.

## What it finds

The gain of a channel in eval mode is |gamma| / sqrt(var + eps).

- Exploding: the running variance is below eps and the gain over 100 times the median of the layer's
  other channels, so that eps alone decides how large the output is; and the filter before is not so
  small that it makes up for it.
- Leaking: the filter before the norm is all zeros, yet the norm makes a constant of it,
  beta + gamma · (bias − mean) / sqrt(var + eps).
- Switched off: gamma is zero in some channels of a layer, which then give their beta.

## Why it matters

A channel that was constant in training has a variance of nearly nothing. Its output is nothing too,
as long as the input stays put: with eps = 1e-5 a change of 0.01 becomes 3. A filter that was pruned
by zeroing its weights leaves the statistics of the filter that was there, and their constant goes
on through the network; it is gone, and the outputs differ, when the channel is really removed.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(8))
    >>> model[0].running_var[2] = 0
    >>> finding = check(model).of("NS304")[0]
    >>> finding.severity, round(finding.evidence["largest gain"])
    ('warning', 316)

## Fix

Exploding: remove the constant feature, or switch the channel off, `norm.weight.data[channel] = 0`:
in training it gave its beta and goes on to. Leaking: zero gamma and beta of the channel as well, or
`normscope.recalibrate(model, loader)`, after which only beta is left.

## On purpose

Gammas of zero, all of a layer (zero-initialized residual branches) or some (slimming), are a note
at most. Statistics that describe the zero filter (a channel that died in training and whose beta
the next layer knows) are a note. With data, a channel that stays put on them is a note.

## Symptoms

- activations explode in eval mode
- quantization after folding batch norm loses accuracy
- pruned filter still has an output
- running_var is zero or tiny
- dead channels

## References

- pytorch/pytorch#5410, torch/nn#770, patrick-kidger/equinox#955: tiny variances
- ynahshan/nn-quantization-pytorch#3: gains spread the ranges of folded weights
- he-y/filter-pruning-geometric-median#27, openvinotoolkit/nncf#255: pruned filters that leak
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from normscope.anatomy import readable
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import Stored, and_more, given_together, stored_in

_TIMES = 100.0
_NOTHING = 1e-3
"""A variance is nothing below this share of eps; a constant below this is none."""
_OFF = 1e-6
_REACH = 10.0


@dataclass(frozen=True, eq=False)
class _Channels:
    """Some channels of a layer.

    Attributes:
        which: true where a channel is meant.
        largest: what is told of the worst of them.
        harmful: whether that is more than a note.
    """

    layer: Stored
    which: Tensor
    largest: float
    harmful: bool

    @property
    def count(self) -> int:
        return int(self.which.sum())


def find(case: Case) -> Iterator[Found]:
    """Yield at most one finding for each of the three troubles."""
    layers = [layer for layer in stored_in(case) if case.norms[layer.path].is_batch_norm]
    if exploding := [each for layer in layers if (each := _exploding(case, layer)) is not None]:
        yield _of_exploding(exploding)
    if leaking := _leaking(case, layers):
        yield _of_leaking(leaking)
    if off := [each for layer in layers if (each := _switched_off(layer)) is not None]:
        yield _of_switched_off(off)


def _exploding(case: Case, layer: Stored) -> _Channels | None:
    small = layer.variance < max(layer.eps, 1e-300)
    others = ~small & (layer.gamma != 0)
    if not bool(small.any()):
        return None
    if not bool(others.any()):
        return _all_nothing(layer)
    which = small & (layer.gain > _TIMES * layer.gain[others].median())
    which &= _can_move(case, layer, others)
    if not bool(which.any()):
        return None
    harmful = bool((layer.variance[which] <= _NOTHING * layer.eps).any())
    reach = _reach(case, layer, which)
    if reach is not None:
        harmful = reach > _REACH
    return _Channels(layer, which, float(layer.gain[which].max()), harmful)


def _all_nothing(layer: Stored) -> _Channels | None:
    """A layer whose variances are all zero: eps alone decides what it does."""
    which = layer.gamma != 0
    if not bool(which.any()) or bool((layer.variance > _NOTHING * layer.eps).any()):
        return None
    return _Channels(layer, which, float(layer.gain[which].max()), harmful=True)


def _can_move(case: Case, layer: Stored, others: Tensor) -> Tensor:
    """Where the filter before is not itself so small that the gain only makes up for it.

    Nowhere, if nobody can tell what comes before.
    """
    try:
        producer = _producer(case, layer)
    except UnknownError:
        return torch.zeros_like(others)
    weight = _filters(producer)
    if weight is None or len(weight) != len(others):
        return torch.ones_like(others)
    through = layer.gain * torch.linalg.vector_norm(weight.double(), dim=1)
    return torch.gt(through, _REACH * through[others].median())


def _reach(case: Case, layer: Stored, which: Tensor) -> float | None:
    """How far from beta the data take these channels: |shift| and three deviations, times gain."""
    seen = given_together(case, layer.path)
    if seen is None or len(seen.mean) != len(layer.mean):
        return None
    deviation = seen.population_variance.cpu().sqrt()
    reach = ((seen.mean.cpu() - layer.mean).abs() + 3 * deviation) * layer.gain
    return float(reach[which].nan_to_num(nan=0.0).max())


def _switched_off(layer: Stored) -> _Channels | None:
    size = layer.gamma.abs()
    which = (size <= _OFF * size.max()) & (layer.beta != 0)
    if not bool(which.any()) or not bool(size.any()):
        return None
    return _Channels(layer, which, float(layer.beta[which].abs().max()), harmful=False)


def _leaking(case: Case, layers: list[Stored]) -> list[_Channels]:
    pruned = {id(module) for module in case.model.modules() if _zero_filters(module) is not None}
    found = []
    for layer in layers if pruned else []:
        with suppress(UnknownError):
            producer = _producer(case, layer)
            if producer is not None and id(producer) in pruned:
                found.append(_leak(layer, producer))
    return [each for each in found if each is not None]


def _producer(case: Case, layer: Stored) -> nn.Module | None:
    """The module whose output goes into a layer; None if it comes from elsewhere.

    Raises:
        UnknownError: if nobody can tell.
    """
    if case.has_data:
        path = case.observation.eval_sights.produced.get(layer.path)
        return None if path is None else case.model.get_submodule(path)
    module = case.norms[layer.path].module
    if case.graph.calls[module] != 1:
        msg = f"torch.fx does not see one call of {layer.path!r}"
        raise UnknownError(msg)
    return case.graph.producer(module)


def _filters(module: nn.Module | None) -> Tensor | None:
    """The weights of a linear or convolution layer, a row for each channel that comes out."""
    if not isinstance(module, nn.Linear | _ConvNd) or isinstance(module, _ConvTransposeNd):
        return None
    weight = readable(module.weight)
    return None if weight is None or weight.is_complex() else weight.flatten(1).cpu()


def _zero_filters(module: nn.Module) -> Tensor | None:
    """Where the filters of a layer are all zeros; None if none is, or every one."""
    weight = _filters(module)
    if weight is None:
        return None
    zero = ~(weight != 0).any(dim=1)
    return zero if bool(zero.any()) and not bool(zero.all()) else None


def _leak(layer: Stored, producer: nn.Module) -> _Channels | None:
    zero = _zero_filters(producer)
    if zero is None or len(zero) != len(layer.mean):
        return None
    bias = getattr(producer, "bias", None)
    given = torch.zeros_like(layer.mean) if bias is None else bias.detach().cpu().double()
    carried = (given - layer.mean) * layer.gamma / (layer.variance + layer.eps).sqrt()
    constant = (layer.beta + carried).abs()
    which = zero & (constant > _NOTHING)
    if not bool(which.any()):
        return None
    harmful = bool((carried.abs() > _NOTHING)[which].any())
    return _Channels(layer, which, float(constant[which].max()), harmful)


def _told(channels: list[_Channels]) -> tuple[_Channels, str, dict[str, int | float | str]]:
    """The worst, how many there are in words, and in numbers."""
    harmful = [each for each in channels if each.harmful]
    worst = max(harmful or channels, key=lambda each: each.largest)
    count = sum(each.count for each in channels)
    total = sum(each.which.numel() for each in channels)
    words = (
        f"{worst.count} of {worst.which.numel()} channels"
        f"{and_more([each.layer.path for each in channels])}"
    )
    return worst, words, {"channels": count, "of": total, "layers": len(channels)}


def _of_exploding(channels: list[_Channels]) -> Found:
    worst, words, counts = _told(channels)
    smallest = float(worst.layer.variance[worst.which].min())
    alone = "" if bool(worst.which.all()) else f", over {_TIMES:g} times the median of the others"
    return Found(
        severity="warning" if worst.harmful else "info",
        module=worst.layer.path,
        message=(
            f"{words} were as good as constant: a running variance down to {smallest:.2g}, below "
            f"eps = {worst.layer.eps:g}, and a gain up to {worst.largest:.3g}{alone}. In eval mode "
            "any change of their input is blown up."
        ),
        fix=(
            "Remove the constant feature, or switch the channels off: "
            f"model.get_submodule({worst.layer.path!r}).weight.data[channels] = 0."
        ),
        evidence={"largest gain": worst.largest, "smallest variance": smallest, **counts},
    )


def _of_leaking(channels: list[_Channels]) -> Found:
    worst, words, counts = _told(channels)
    why = (
        "the running statistics are those of the filters before they were zeroed"
        if worst.harmful
        else "it is their beta"
    )
    return Found(
        severity="warning" if worst.harmful else "info",
        module=worst.layer.path,
        message=(
            f"{words} come from filters that are all zeros, and give a constant of up to "
            f"{worst.largest:.3g} in eval mode: {why}."
        ),
        fix=(
            "Zero gamma and beta of these channels as well, or add the constant to the next "
            "layer's bias; normscope.recalibrate(model, loader) leaves beta alone."
        ),
        evidence={"largest constant": worst.largest, **counts},
    )


def _of_switched_off(channels: list[_Channels]) -> Found:
    worst, words, counts = _told(channels)
    return Found(
        severity="info",
        module=worst.layer.path,
        message=(
            f"{words} have a gamma of zero and give their beta alone, up to {worst.largest:.3g}."
        ),
        fix="If they were slimmed: add the constant to the next layer's bias, and remove them.",
        evidence={"largest beta": worst.largest, **counts},
    )
