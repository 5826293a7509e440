"""Which modules of a model normalize by batch statistics."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """Every batch-normalization module of `model`, by its dotted path, in definition order.

    A module that is registered in two places is listed once, under its first path.

    Example:
        >>> list(batch_norm_layers(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))))
        ['1']
    """
    return {
        path: module for path, module in model.named_modules() if isinstance(module, _BatchNorm)
    }
