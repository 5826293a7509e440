"""Running statistics that are still 0 and 1 in a network that has learned.

## What it finds

Batch norms whose running mean is exactly 0 and whose running variance is exactly 1 in every
channel, while gamma and beta are no longer what they were built with: both differ from channel to
channel, which no initialization does. It also notes layers that are still new next to others that
have collected statistics.

## Why it matters

In training the batch's own statistics are used and all is well; in eval mode such a layer does not
normalize at all. Whatever goes through `parameters()` alone leaves the statistics behind: averages
of weights (EMA, SWA), target networks, federated averages, checkpoints and adapters.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> from torch import nn
    >>> online = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> _ = torch.nn.init.normal_(online[1].weight), torch.nn.init.normal_(online[1].bias)
    >>> average = torch.optim.swa_utils.AveragedModel(online)
    >>> print(check(average).of("NS301")[0].message)
    Running means of exactly 0 and running variances of exactly 1 in all 3 channels, though gamma
    and beta were trained: eval mode does not normalize. No batch was ever counted.

## Fix

`normscope.copy_buffers(online, average)` where the network with the statistics is at hand; else
`normscope.recalibrate(model, loader)`, which for averaged weights is the better one: their
activations are not those of the network they were averaged from. Neither touches a parameter.

## On purpose

A network that was built just now is not mentioned. Statistics that were folded into gamma and beta
leave 0 and 1 behind too: where batches were counted, or the layer is of a kind that never collects,
it is only a note; and so it is if the data show that eval mode answers as well as batch statistics,
or another layer's biases are all the same number, as in a network that draws gamma and beta when it
is built.

## Symptoms

- EMA model much worse than the online model
- SWA model at chance
- teacher or target network is bad
- loaded checkpoint evaluates at chance
- running_mean is all zeros and running_var all ones
- num_batches_tracked is 0
- missing keys running_mean, running_var, strict=False

## References

- pytorch/ignite#2590, fadel/pytorch_ema#13, lucidrains/ema-pytorch#8: averages without buffers
- huggingface/pytorch-image-models#106: EMA of the wrong things
- Lightning-AI/pytorch-lightning#14866, mosaicml/composer#624: SWA
- DLR-RM/stable-baselines3#996: target networks
- torch/nn#1165; huggingface/peft#1732: checkpoints of parameters
- pytorch/pytorch#8430: keys that did not match
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from normscope.anatomy import RunningNorm, readable
from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._stored_statistics import Stored, and_more, collects, stored_in

if TYPE_CHECKING:
    from normscope.records import Evidence, Severity

_FIX = (
    "Copy them from the network that has them: normscope.copy_buffers(source, model); or compute "
    "them from data: normscope.recalibrate(model, loader)."
)


def find(case: Case) -> Iterator[Found]:
    """Yield one finding for learned layers, and one for new ones beside others."""
    layers = stored_in(case)
    default = [layer for layer in layers if case.norms[layer.path].has_initial_statistics]
    learned = [layer for layer in default if _varies(layer.gamma) and _varies(layer.beta)]
    if learned:
        yield _of_learned(case, learned)
    new = [layer for layer in default if layer not in learned]
    if new and len(default) < len(layers):
        yield _of_new(new, len(layers))


def _varies(values: Tensor) -> bool:
    """Whether it differs from channel to channel; a single channel is compared with 0 and 1."""
    if values.numel() == 1:
        return float(values) not in {0.0, 1.0}
    return bool((values != values[0]).any())


def _of_learned(case: Case, learned: list[Stored]) -> Found:
    never = [layer for layer in learned if _never_collected(case.norms[layer.path])]
    layers = never or learned
    evidence: dict[str, Evidence] = {
        "layers": len(layers),
        "channels": sum(layer.mean.numel() for layer in layers),
        "largest beta": max(float(layer.beta.abs().max()) for layer in layers),
        "batches counted": max(case.norms[layer.path].batches_tracked or 0 for layer in layers),
    }
    new = _looks_new(case.model)
    severity: Severity = "warning" if never and not new else "info"
    told = (
        "No batch was ever counted."
        if never
        else "Batches were counted, or such layers never collect: it may have been folded, "
        "or the statistics alone were not loaded (strict=False)."
    )
    if never and new:
        told += " The rest of the model looks as if it had just been built."
    if (scores := _scores(case)) is not None:
        evidence |= {"score in eval mode": scores.running, "score by batch": scores.by_batch}
        told += f" On the data the score is {scores.running:.3g}, by batch {scores.by_batch:.3g}."
        severity = scores.severity or severity
    return Found(
        severity=severity,
        module=layers[0].path,
        message=(
            "Running means of exactly 0 and running variances of exactly 1 in all "
            f"{layers[0].mean.numel()} channels, though gamma and beta were trained: eval mode "
            f"does not normalize{and_more([layer.path for layer in layers])}. {told}"
        ),
        fix=_FIX,
        evidence=evidence,
    )


def _looks_new(model: nn.Module) -> bool:
    """Whether some layer's biases are one and the same number, as only an initialization does it.

    There are networks whose gammas and betas are drawn at random.
    """
    biases = (readable(m.bias) for m in model.modules() if isinstance(m, nn.Linear | _ConvNd))
    return any(
        bias is not None and bias.numel() > 1 and bool((bias == bias[0]).all()) for bias in biases
    )


def _never_collected(norm: RunningNorm) -> bool:
    return collects(norm) and not norm.batches_tracked


@dataclass(frozen=True)
class _Scores:
    """Mean scores of rows, in eval mode and by batch statistics.

    Attributes:
        noise: two standard errors of the difference.
    """

    running: float
    by_batch: float
    noise: float

    @property
    def severity(self) -> "Severity | None":
        """What the data say; None where they cannot tell."""
        if self.running < self.by_batch - self.noise:
            return "warning"
        return "info" if self.running >= self.by_batch else None


def _scores(case: Case) -> _Scores | None:
    """How good the model is on its data; None where nothing says what is right."""
    if not case.has_data:
        return None
    pairs = [
        (batch.running.scores, batch.by_batch.scores)
        for batch in case.observation.batches
        if batch.running is not None and batch.by_batch is not None
    ]
    running = [first for first, second in pairs if first is not None and second is not None]
    by_batch = [second for first, second in pairs if first is not None and second is not None]
    if not running:
        return None
    difference = torch.cat(running) - torch.cat(by_batch)
    if len(difference) < 2 or not bool(difference.isfinite().all()):
        return None
    return _Scores(
        running=float(torch.cat(running).mean()),
        by_batch=float(torch.cat(by_batch).mean()),
        noise=2 * float(difference.std()) / math.sqrt(len(difference)),
    )


def _of_new(layers: list[Stored], norms: int) -> Found:
    return Found(
        severity="info",
        module=layers[0].path,
        message=(
            f"{len(layers)} of {norms} norm layers have the statistics that they were built with, "
            "mean 0 and variance 1, while the others have collected some. That is fine for a new "
            "head that is still to be trained."
        ),
        fix=_FIX,
        evidence={"layers": len(layers), "norm layers": norms},
    )
