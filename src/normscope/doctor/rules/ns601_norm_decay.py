"""The gains and shifts of norm layers are in the optimizer's weight decay.

## What it finds

Parameters of norm layers (batch, layer, group, instance and RMS norms, and other people's) that
learn, in groups with a weight decay above zero. It says so separately where norm parameters of one
kind stand on both sides: some in a group made for what is not to be decayed, some decayed. That is
what a list of classes or names that forgot one looks like.

## Why it matters

Before a norm, the size of a weight has no effect on the output, and decay acts as a learning rate.
The gain itself has an effect: decay pulls it to 0 and the layer's output with it, by learning rate
times decay in each step, whatever the loss says. Whether that hurts is contested, so it is no more
than information; nor is a split unless the decayed gains were measured to be smaller than the
others. (With Adam, not AdamW, decay is divided by the gradient's size and pulls harder where
gradients are small.)

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.05)
    >>> check(model, optimizer=optimizer).of("NS601")[0].message
    '2 of 2 learning norm parameters are in weight decay (0.05), 1.weight and ...'

## Fix

`normscope.exempt_norms(optimizer, model)` splits the groups in place and keeps what the optimizer
remembers; for a new one, `normscope.parameter_groups(model, weight_decay=...)`. Safe: outputs do
not change; training does, from the next step on.

## On purpose

To prune channels by small gains (network slimming, which as published uses the absolute value
rather than decay), and in recipes that were tuned with everything decayed, such as torchvision's.

## Symptoms

- should batch norm weights be decayed
- gamma shrinks towards zero
- weight decay on LayerNorm and bias
- converted to SyncBatchNorm and accuracy changed with weight decay

## References

- pytorch/pytorch#1402; torch/torch7#846: should gamma and beta decay?
- facebookresearch/ClassyVision#177; Deci-AI/super-gradients#14: one class of norms was forgotten
- He et al. 2019, Bag of Tricks (arXiv 1812.01187), section 3.1: no bias decay
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from normscope.anatomy import norm_parameters
from normscope.doctor._case import Case
from normscope.doctor._counted import percent
from normscope.doctor._rules import Found

if TYPE_CHECKING:
    from normscope.records import Evidence

_FIX = (
    "Take the norm layers out of the decay: normscope.exempt_norms(optimizer, model), or build the "
    "optimizer from normscope.parameter_groups(model, weight_decay=...)."
)
_SMALLER = 0.9
"""Decayed gains below this share of the others are said to have shrunk."""

Named = dict[str, nn.Parameter]


def find(case: Case) -> Iterator[Found]:
    """Yield one finding if any norm parameter that learns is decayed."""
    split = _Split.of(case.optimizer, norm_parameters(case.model))
    if not split.decayed:
        return
    first = next(iter(split.decayed))
    count, total = len(split.decayed), len(split.decayed) + len(split.exempt)
    more = f" and {count - 1} more" if count > 1 else ""
    message = (
        f"{count} of {total} learning norm parameters are in weight decay ({split.told}), "
        f"{first}{more}."
    )
    evidence: dict[str, Evidence] = {"decayed": count, "exempt": total - count}
    evidence["largest weight decay"] = max(split.decays)
    if split.is_inconsistent:
        message += (
            f" A group made to have none holds {len(split.spared)} others, "
            f"{next(iter(split.spared))} for one: some norm layers may have been forgotten."
        )
    shrunk = split.shrunk if split.is_inconsistent else None
    if shrunk is not None:
        evidence["gains, decayed to exempt"] = shrunk
        message += f" The decayed gains are on average {percent(shrunk)} of the others' size."
    yield Found(
        severity="warning" if shrunk is not None and shrunk < _SMALLER else "info",
        module=first,
        message=message,
        fix=_FIX,
        evidence=evidence,
    )


@dataclass(frozen=True)
class _Split:
    """The norm parameters that learn, by what the optimizer does to them.

    Attributes:
        decayed: in groups with a weight decay.
        exempt: in groups without.
        spared: of those, the ones in groups without decay that hold no weight matrix.
        decays: the weight decays that there are.
    """

    decayed: Named
    exempt: Named
    spared: Named
    decays: tuple[float, ...]

    @classmethod
    def of(cls, optimizer: Optimizer, norms: Named) -> "_Split":
        names = {id(p): name for name, p in norms.items() if p.requires_grad and not is_lazy(p)}
        decayed: Named = {}
        exempt: Named = {}
        spared: Named = {}
        decays: set[float] = set()
        for group in optimizer.param_groups:
            here = {names[id(p)]: p for p in group["params"] if id(p) in names}
            if here and (decay := float(group.get("weight_decay") or 0)) > 0:
                decayed |= here
                decays.add(decay)
            else:
                exempt |= here
                if all(id(p) in names or is_lazy(p) or p.ndim < 2 for p in group["params"]):
                    spared |= here
        order = {name: number for number, name in enumerate(norms)}
        decayed = dict(sorted(decayed.items(), key=lambda item: order[item[0]]))
        return cls(decayed, exempt, spared, tuple(sorted(decays)))

    @property
    def told(self) -> str:
        """The decays in words."""
        low, high = f"{self.decays[0]:g}", f"{self.decays[-1]:g}"
        return low if low == high else f"{low} to {high}"

    @property
    def is_inconsistent(self) -> bool:
        """Whether like parameters are on both sides: gains, or shifts."""
        return bool(set(map(_kind, self.decayed)) & set(map(_kind, self.spared)))

    @property
    def shrunk(self) -> float | None:
        """The size of decayed gains as a share of that of spared ones; None where unknown."""
        decayed, spared = _mean_gain(self.decayed), _mean_gain(self.spared)
        return decayed / spared if decayed is not None and spared else None


def _kind(name: str) -> str:
    """Gain or shift, by what torch calls them."""
    return name.rpartition(".")[2]


def _mean_gain(named: Named) -> float | None:
    """The average absolute gain, a parameter at a time."""
    gains = [
        float(parameter.detach().abs().float().mean())
        for name, parameter in named.items()
        if _kind(name) == "weight" and not parameter.is_meta and parameter.numel()
    ]
    return sum(gains) / len(gains) if gains else None
