"""What the layers of a network normalize by: learned, tracked, and exact."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy import batch_norm_layers
from normscope.data import Split
from normscope.nn import (
    MLP,
    NormalizedLayer,
    set_population_statistics,
    set_population_statistics_by_passes,
)
from normscope.probes._images import chunks, where_it_is
from normscope.probes._layers import affine, known_layers
from normscope.probes._own_network import batch_norms_called
from normscope.records import LayerStatistics


def layer_statistics(network: nn.Module, train: Split) -> list[LayerStatistics]:
    """What the layers of an `MLP`, or any other network's batch norms, normalize by.

    The running statistics of `network` become those of the population.
    """
    if layers := known_layers(network):
        before = [_of_layer(layer) for layer in layers]
        if isinstance(network, MLP) and batch_norm_layers(network):
            set_population_statistics(network, where_it_is(network, train.images).flatten(1))
        return [
            _with_population(one, layer.norm) for one, layer in zip(before, layers, strict=True)
        ]
    images = chunks(network, train)
    norms = batch_norms_called(network, images[0])
    before = [_of_batch_norm(norm) for norm in norms]
    if norms:
        set_population_statistics_by_passes(network, images)
    return [_with_population(one, norm) for one, norm in zip(before, norms, strict=True)]


def _of_layer(layer: NormalizedLayer) -> LayerStatistics:
    """What a layer of an `MLP` normalizes by."""
    if isinstance(layer.norm, _BatchNorm):
        return _of_batch_norm(layer.norm)
    gamma, beta = affine(layer)
    if isinstance(layer.norm, nn.LayerNorm):
        eps = layer.norm.eps
        return LayerStatistics(norm="layer", eps=eps, gamma=_exact(gamma), beta=_exact(beta))
    return LayerStatistics(norm="none", eps=0.0, gamma=(), beta=_exact(beta))


def _of_batch_norm(norm: _BatchNorm) -> LayerStatistics:
    """What a batch norm normalizes by."""
    return LayerStatistics(
        norm="batch",
        eps=norm.eps,
        gamma=_exact(norm.weight),
        beta=_exact(norm.bias),
        running_mean=_exact(norm.running_mean),
        running_variance=_exact(norm.running_var),
    )


def _with_population(before: LayerStatistics, norm: nn.Module) -> LayerStatistics:
    """The statistics from before, and those that a batch norm has now."""
    if not isinstance(norm, _BatchNorm):
        return before
    population = {
        "population_mean": _exact(norm.running_mean),
        "population_variance": _exact(norm.running_var),
    }
    return before.model_copy(update=population)


def _exact(values: Tensor | None) -> tuple[float, ...]:
    """The shortest decimals that are read back as the same float32."""
    if values is None:
        return ()
    return tuple(map(float, values.detach().float().cpu().numpy().astype(str)))
