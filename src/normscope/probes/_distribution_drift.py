"""How the distributions of pre-activations move from one reading to the next."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from normscope.probes._bands import pooled
from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer
from normscope.probes._units import by_unit, layer_sums
from normscope.records import Reading

_ROWS, _UNITS = 512, 128
_QUARTILES = (0.25, 0.5, 0.75)


@dataclass
class DistributionDrift:
    r"""How far the distribution of every unit's pre-activation has moved since the last reading.

    Ioffe & Szegedy 2015 (arXiv 1502.03167, figure 1) draw the 15th, 50th and 85th
    percentile over training. In one number: |median_t − median_s| over the interquartile range at
    s, the step of the reading before, in the mean over units. All on the probe batch, which is the
    same every time.

    Quantities, per layer, of its sums z, and of what the norm behind it gives, y, where there is
    one. A module of one's own that then shifts and scales units, and does nothing else to them,
    counts as part of that norm; what a `forward` adds by itself is not seen here, but in the
    sums of the next layer:

    - ``sums-band``, ``normalized-band``: the 15th, 50th and 85th percentile over all examples and
      units,
    - ``sums-drift``, ``normalized-drift``, from the second reading on: the mean over units as the
      value, the quantiles 0, 0.15, 0.5, 0.85 and 1 over units as the values. Infinite or NaN for
      units that did not vary at s, of which the NaN are left out.

    The bands are taken of at most 16 384 values, the drift of at most 512 examples' places and 128
    units, the same every time. The last reading is held in memory: a probe belongs to one training,
    and after a resumption its first reading has no drift.

    Cost: 1 FB, which the other probes of activations share.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Linear(1, 1))
        >>> x = torch.arange(5.0)[:, None]
        >>> moment = Moment(0, network, lambda n: n(x).mean(), {}, {}, {})
        >>> probe = DistributionDrift()
        >>> [r.quantity for r in probe.read(moment)]
        ['sums-band']
        >>> [r.quantity for r in probe.read(moment)]
        ['sums-band', 'sums-drift']
    """

    needs_loss: ClassVar[bool] = True

    name: str = "distribution-drift"
    every: int = 500
    _last: dict[tuple[str, str], Tensor] = field(default_factory=dict, init=False, repr=False)

    def read(self, moment: Moment) -> list[Reading]:
        """Bands, and drifts where there is an earlier reading."""
        readings = list[Reading]()
        for seen in layer_sums(moment):
            kinds = {"sums": seen.sums}
            if seen.layer.norm is not None or seen.layer.moved_by is not None:
                kinds["normalized"] = seen.moved
            for kind, values in kinds.items():
                units = by_unit(moment.network, seen.layer, values)
                readings += self._of(moment, kind, seen.layer.path, units)
        return readings

    def _of(self, moment: Moment, kind: str, path: str, units: Tensor) -> list[Reading]:
        """What is read of one layer's ``[values, units]``."""
        write = Writer(moment, self.name)
        band = pooled(units)
        bands = write.number(f"{kind}-band", band.middle, path).model_copy(
            update={"values": (band.low, band.middle, band.high)}
        )
        now = _quartiles(units)
        before, self._last[kind, path] = self._last.get((kind, path)), now
        if before is None or before.shape != now.shape:
            return [bands]
        drifts = (now[1] - before[1]).abs() / (before[2] - before[0])
        return [bands, write.spread(f"{kind}-drift", drifts, path)]


def _quartiles(units: Tensor) -> Tensor:
    """``[3, units]``, of some rows and units, evenly spread."""
    rows, width = units.shape
    sample = units[:: -(-rows // _ROWS), :: -(-width // _UNITS)]
    return torch.quantile(sample, sample.new_tensor(_QUARTILES), dim=0)
