"""Which parameters are the gains and shifts of normalization layers, whatever their class."""

import re
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

NORM_CLASSES = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Torch's own, and so all their subclasses."""

_CALLED_A_NORM = re.compile(r"(norm|normalization)(act)?[\d_]*d?$|bn[\d_]*d?$", re.IGNORECASE)
"""Other people's: LlamaRMSNorm, T5LayerNorm, GlobalResponseNorm, ABN, FrozenBN2d."""


def norm_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of all normalization layers, by name; each once.

    Those of torch's batch, instance, layer, group and RMS norms and their subclasses, of modules
    that keep a running mean and variance, and of modules whose class is called a norm and whose
    parameters all have one value per channel at most. A parametrized one counts by its original.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.BatchNorm1d(3))
        >>> list(norm_parameters(model))
        ['1.weight', '1.bias', '2.weight', '2.bias']
    """
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for path, module in model.named_modules():
        for name, parameter in _parameters(module):
            found.setdefault(id(parameter), (f"{path}.{name}" if path else name, parameter))
    return dict(found.values())


def _parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """A norm layer's own; nothing of another module."""
    own = [
        (name, parameter)
        for name, parameter in module.named_parameters()
        if "." not in name or name.startswith("parametrizations.")
    ]
    if isinstance(module, NORM_CLASSES) or (
        _is_called_a_norm(module) and all(_per_channel(parameter) for _, parameter in own)
    ):
        yield from own


def _is_called_a_norm(module: nn.Module) -> bool:
    if _CALLED_A_NORM.search(type(module).__name__):
        return True
    return all(
        isinstance(getattr(module, name, None), Tensor) for name in ("running_mean", "running_var")
    )


def _per_channel(parameter: nn.Parameter) -> bool:
    """One value per channel, in whatever axes, or one for all."""
    return is_lazy(parameter) or sum(size > 1 for size in parameter.shape) <= 1
