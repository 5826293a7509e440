"""Dropout in front of a batch norm, which learns the variance of noise that eval mode lacks.

## What it finds

A dropout whose output reaches a batch norm through linear maps, convolutions, activations and
sums. With data it lets some batches through with dropout on and off and compares the deviation of
the batch norm's input.

## Why it matters

Dropout keeps the mean and raises the variance: of a value x that is kept with probability 1 - p the
second moment grows by 1 / (1 - p). The running variance is that of training; in eval mode the input
varies less, so that outputs are too small by the ratio of the deviations (Li et al. 2019, "variance
shift").

## Example

    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> check(model).of("NS202")[0].module
    '2'

## Fix

Put the dropout behind the last batch norm, and train again. Until then
`normscope.recalibrate(model, loader)` collects the statistics with dropout off: eval outputs are
then those of the network without the noise. That cures the symptom, and comes back with training.

## On purpose

Wide residual networks and DenseNets have it by design, with little dropout. Only a measured shift
of more than 5 % of the deviation, beyond what noise explains, is a warning; statistics that were
collected without dropout already make it an info.

## Symptoms

- validation is worse than training with dropout and batch norm together
- accuracy is better with dropout on in eval mode

## References

- luigibonati/mlcolvar#205, #267: reordered
- Li et al. 2019 (arXiv 1801.05134)
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy import CallGraph, RunningNorm, in_float64, normalizing_by_batch
from normscope.doctor._case import Case
from normscope.doctor._counted import percent
from normscope.doctor._observation import Observation
from normscope.doctor._rules import Found
from normscope.doctor._sights import Sights
from normscope.doctor._ways import ELEMENTWISE, LINEAR, called, joined, listed, upstream
from normscope.stats import Moments, merge_all

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_THROUGH = ELEMENTWISE | {
    "flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "cat", "concat",
    "linear", "conv1d", "conv2d", "conv3d", "mean", "interpolate", "upsample", "pad",
    "maxpool1d", "maxpool2d", "maxpool3d", "avgpool1d", "avgpool2d", "avgpool3d",
    "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptiveavgpool3d", "adaptivemaxpool2d",
}  # fmt: skip
_SHIFT = 0.05


def find(case: Case) -> Iterator[Found]:
    """Yield one finding: the batch norm that dropout shifts most, or the first behind one."""
    before = {
        joined(prefix, graph.paths[norm]): dropouts
        for prefix, graph in case.parts.items()
        for norm in graph.nodes
        if isinstance(norm, _BatchNorm) and (dropouts := list(_dropouts_before(graph, norm)))
    }
    if not before:
        return
    modules = [dropout for dropouts in before.values() for dropout in dropouts if dropout]
    shifts = {}
    if case.has_data and modules:
        shifts = _shifts(case.observation, modules, before)
    worst = max(shifts, key=lambda path: shifts[path].beyond_noise, default=next(iter(before)))
    yield _told(worst, list(before), shifts.get(worst), case.norms[worst])


def _dropouts_before(graph: CallGraph, norm: nn.Module) -> Iterator[nn.Module | None]:
    """The dropouts whose output reaches this norm; None for one that is a function."""

    def through(node: Node) -> bool:
        return called(graph, node) in _THROUGH or isinstance(graph.modules.get(node), LINEAR)

    for node in upstream(graph.nodes[norm], through):
        module = graph.modules.get(node)
        if isinstance(module, _DROPOUTS):
            if module.p > 0:
                yield module
        elif called(graph, node) in {"dropout", "dropout1d", "dropout2d", "dropout3d"}:
            chance = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            if not isinstance(chance, float | int) or chance > 0:
                yield None


@dataclass(frozen=True, eq=False)
class _Shift:
    """What dropout does to the input of a batch norm.

    Attributes:
        log_ratio: the mean over channels of the logarithm of the deviation with dropout, divided
            by that without.
        rows: how many rows were compared.
        without: the moments without dropout.
    """

    log_ratio: float
    rows: int
    without: Moments

    @property
    def noise(self) -> float:
        """One standard error: the logarithm of the deviation of n normal numbers varies by 1/2n."""
        return 1 / math.sqrt(2 * self.rows)

    @property
    def beyond_noise(self) -> float:
        """The shift, in shares of the deviation, of which two standard errors are taken."""
        return math.expm1(max(abs(self.log_ratio) - 2 * self.noise, 0))

    def in_statistics(self, norm: RunningNorm) -> bool:
        """Whether the stored variance is, or will be, that with dropout."""
        if norm.variance is None or not norm.batches_tracked:
            return True
        stored = in_float64(norm.variance).to(self.without.mean.device).clamp(min=1e-30)
        log_ratio = float((stored / self.without.population_variance).log().nanmean()) / 2
        return abs(log_ratio - self.log_ratio) < abs(log_ratio)


def _log_ratio(on: Moments, off: Moments) -> float:
    """The mean over channels that vary of log(deviation of one / deviation of the other)."""
    vary = (on.population_variance > 0) & (off.population_variance > 0)
    if not bool(vary.any()):
        return 0.0
    ratio = on.population_variance[vary] / off.population_variance[vary]
    return float(ratio.log().mean()) / 2


def _shifts(
    seen: Observation, dropouts: Iterable[nn.Module], paths: Iterable[str]
) -> dict[str, _Shift]:
    """The shift of each of these batch norms, from a quarter of the spare batches."""
    sights, numbers, rows = Sights(), set(), 0
    for _ in range(math.ceil(seen.spare_batches / 4)):
        if (batch := seen.spare()) is None:
            break
        seen.again(batch, _dropping(seen, dropouts), sights)
        numbers.add(batch.number)
        rows += batch.rows
    shifts = {}
    for path in paths:
        dropped = sights.of.get(path, [])
        whole = [s for s in seen.batch_sights.of.get(path, []) if s.batch in numbers]
        on, off = ([s.moments for s in some if s.moments is not None] for some in (dropped, whole))
        if rows > 1 and on and len(on) == len(off):
            with_dropout, without = merge_all(on), merge_all(off)
            shifts[path] = _Shift(_log_ratio(with_dropout, without), rows, without)
    return shifts


@contextmanager
def _dropping(seen: Observation, dropouts: Iterable[nn.Module]) -> Iterator[None]:
    """Batch statistics, as in `batch_sights`, and these dropouts on."""
    with ExitStack() as stack:
        stack.enter_context(normalizing_by_batch(list(seen.norms.values())))
        for dropout in dropouts:
            stack.callback(setattr, dropout, "training", dropout.training)
            dropout.training = True
        yield


def _told(path: str, behind: list[str], shift: _Shift | None, norm: RunningNorm) -> Found:
    fix = (
        "Put the dropout behind the batch norm and train again; until then "
        "normscope.recalibrate(model, loader) collects statistics with dropout off."
    )
    others = f" ({listed(behind)} are behind a dropout.)" if len(behind) > 1 else ""
    if shift is None:
        message = (
            "A dropout is before this batch norm, which learns a variance that its input does not "
            "have in eval mode."
        )
        return Found("info", path, message + others, fix, {"batch norms": len(behind)})
    change = math.expm1(shift.log_ratio)
    message = (
        f"Dropout before it changes the deviation of its input by {'+' * (change > 0)}"
        f"{percent(change)} in training, on {shift.rows} rows (noise alone: {percent(shift.noise)})"
    )
    large, learnt = shift.beyond_noise > _SHIFT, shift.in_statistics(norm)
    if large and learnt:
        message += "; in eval mode its input does not vary as its running variance says."
    else:
        message += "; its running variance is that without." if large else "; that is little."
    return Found(
        severity="warning" if large and learnt else "info",
        module=path,
        message=message + others,
        fix=fix,
        evidence={
            "deviation with dropout / without": math.exp(shift.log_ratio),
            "noise": shift.noise,
            "rows": shift.rows,
            "batch norms": len(behind),
        },
    )
