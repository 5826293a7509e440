"""What layers make of the probe batch, as matrices: one look for all probes of a moment."""

from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from normscope.anatomy import WeightLayer
from normscope.probes._moment import LayerSums, Moment
from normscope.probes._summaries import exact

_SEEN: WeakKeyDictionary[Moment, list[LayerSums]] = WeakKeyDictionary()


def layer_sums(moment: Moment) -> list[LayerSums]:
    """What the layers make of the probe batch after the step: 1 FB for all probes of the moment."""
    if moment not in _SEEN:
        _SEEN[moment] = moment.sums_at(moment.after) if moment.layers else []
    return _SEEN[moment]


def by_unit(network: nn.Module, layer: WeightLayer, values: Tensor) -> Tensor:
    """``[values, units]`` in float64: every place of every example is a value of its own.

    Units are the channels of a convolution, and what any other layer gives last.
    """
    return exact(_units_last(network, layer, values)).flatten(0, -2)


def by_example(network: nn.Module, layer: WeightLayer, values: Tensor) -> Tensor:
    """``[examples, units]`` in float64: the places of an example are summed."""
    units = exact(_units_last(network, layer, values))
    return units.flatten(1, -2).sum(1) if units.ndim > 2 else units


def _units_last(network: nn.Module, layer: WeightLayer, values: Tensor) -> Tensor:
    is_convolution = isinstance(network.get_submodule(layer.path), _ConvNd)
    return values.movedim(1, -1) if is_convolution else values
