"""Running statistics beside exact ones, and what each layer's difference costs."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy import batch_norm_layers, normalizing_by, normalizing_by_batch
from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer, exact
from normscope.records import Reading
from normscope.stats import Moments, merge

Statistics = tuple[Tensor, Tensor]


@dataclass
class StatisticsGap:
    r"""How far running statistics are from the exact ones of the probe batch, and what it costs.

    Exact are those that batch norms compute themselves when the probe batch passes as one batch,
    all else in eval mode: of its rows, with exact ones in every layer before. The variances of
    both are Bessel-corrected, as PyTorch tracks them. What the difference costs is seen by putting
    the exact ones in the place of the running ones, in one layer alone. Wu & Johnson 2021 (arXiv
    2105.07576) study what else running statistics get wrong.

    Quantities, per batch norm that tracks, by its own path, in the order of the calls. Values are
    the quantiles 0, 0.15, 0.5, 0.85 and 1 over channels:

    - ``mean-distance``: |μ_running − μ|/σ; the value is the mean over channels,
    - ``deviation-ratio``: log(σ_running/σ); the value is the mean of its size,
    - ``loss-gap``: the loss in eval mode minus the loss with this layer's statistics exact: what
      the layer's own cost;

    and of the network: ``loss-gap``, the same with all layers' exact. There is nothing to read of
    fewer than two values a channel. The more the probe batch differs from the training's rows, the
    more is read as a gap.

    Cost: 2 F, and 1 F for every batch norm.

    Example:
        >>> norm, x = torch.nn.BatchNorm1d(1), torch.tensor([[1.0], [3.0]])
        >>> moment = Moment(1, norm, lambda n: n(x).square().mean(), {}, {}, {})
        >>> [(r.quantity, round(r.value, 3)) for r in StatisticsGap().read(moment)]
        [('mean-distance', 1.414), ('deviation-ratio', 0.347), ('loss-gap', 4.5), ('loss-gap', 4.5)]
    """

    needs_loss: ClassVar[bool] = True

    name: str = "statistics-gap"
    every: int = 2000

    def read(self, moment: Moment) -> list[Reading]:
        """Three quantities of every batch norm that tracks, and one of the network."""
        statistics, write = _exact_statistics(moment), Writer(moment, self.name)
        if not statistics:
            return []
        norms, readings = batch_norm_layers(moment.network), list[Reading]()
        running = _loss_by(moment, {})
        for path, (mean, variance) in statistics.items():
            norm, deviation = norms[path], variance.sqrt()
            assert norm.running_mean is not None
            assert norm.running_var is not None
            distances = (exact(norm.running_mean) - mean).abs() / deviation
            ratios = (exact(norm.running_var).sqrt() / deviation).log()
            alone = _loss_by(moment, {path: (mean, variance)})
            readings += [
                write.spread("mean-distance", distances, path),
                write.spread("deviation-ratio", ratios, path, torch.nanmean(ratios.abs())),
                write.number("loss-gap", running - alone, path),
            ]
        together = _loss_by(moment, statistics)
        return [*readings, write.number("loss-gap", running - together)]


def _exact_statistics(moment: Moment) -> dict[str, Statistics]:
    """Mean and Bessel-corrected variance of what every batch norm that tracks is given."""
    seen: dict[str, Moments] = {}

    def looking(path: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def look(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            x = exact(given[0] if given else named["input"])
            new = Moments.of(x, [axis for axis in range(x.ndim) if axis != 1])
            seen[path] = merge(seen[path], new) if path in seen else new

        return look

    def loss(network: nn.Module) -> Tensor:
        network.eval()
        norms = batch_norm_layers(network)
        with ExitStack() as stack:
            for path, norm in norms.items():
                if norm.running_mean is not None:
                    hook = norm.register_forward_pre_hook(looking(path), with_kwargs=True)
                    stack.callback(hook.remove)
            stack.enter_context(normalizing_by_batch(norms.values()))
            return moment.loss(network)

    replace(moment, loss=loss).loss_at(moment.after)
    return {path: (m.mean, m.bessel_variance) for path, m in seen.items() if m.count > 1}


def _loss_by(moment: Moment, statistics: dict[str, Statistics]) -> float:
    """The loss in eval mode, some batch norms with other statistics than their running ones."""

    def loss(network: nn.Module) -> Tensor:
        network.eval()
        norms = batch_norm_layers(network)
        others = {norms[path]: _like(norms[path], both) for path, both in statistics.items()}
        with normalizing_by(others):
            return moment.loss(network)

    return replace(moment, loss=loss).loss_at(moment.after)


def _like(norm: _BatchNorm, statistics: Statistics) -> Statistics:
    """In the dtype and on the device of the layer's own."""
    assert norm.running_mean is not None
    mean, variance = statistics
    return mean.to(norm.running_mean), variance.to(norm.running_mean)
