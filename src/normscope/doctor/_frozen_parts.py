"""Which parts of a model nobody trains."""

from collections.abc import Container

from torch import nn


class FrozenParts:
    """The parts of a model whose parameters ask for no gradient.

    Args:
        model: any.
        trained: the identities of the parameters that are trained; by default those that ask for
            a gradient.

    Example:
        >>> backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)).requires_grad_(False)
        >>> model = nn.Sequential(backbone, nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> parts = FrozenParts(model)
        >>> parts.holds("0.1", backbone[1]), parts.holds("1", model[1])
        (True, False)
    """

    def __init__(self, model: nn.Module, *, trained: Container[int] | None = None) -> None:
        self._trained = trained
        self._modules = dict(model.named_modules())
        self._before = weights_before(model)
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def holds(self, path: str, module: nn.Module) -> bool:
        """Whether neither a layer nor the weights that are defined before it are trained."""
        own, before = self._frozen(module, recurse=False), self._before[path]
        if before is None:
            return own is True
        return own is not False and self._frozen(self._modules[before], recurse=False) is True

    def has_trainable_twin(self, path: str) -> bool:
        """Whether another part, which trains, has the shapes of the frozen part around a layer.

        Momentum encoders and teachers have one. Blocks that follow each other in a row look alike
        as well, and are not meant.
        """
        part = self._largest(path)
        parent = self._modules[part.rpartition(".")[0]]
        if not part or isinstance(parent, nn.Sequential | nn.ModuleList):
            return False
        shapes = self._shapes_of(part)
        return any(
            self._frozen(module) is False and self._shapes_of(other) == shapes
            for other, module in self._modules.items()
            if other and not f"{other}.".startswith(f"{part}.")
        )

    def _largest(self, path: str) -> str:
        """The largest module around a layer of which no parameter is trained."""
        names = path.split(".")
        around = (".".join(names[:depth]) for depth in range(1, len(names) + 1))
        return next((part for part in around if self._frozen(self._modules[part])), path)

    def _frozen(self, module: nn.Module, *, recurse: bool = True) -> bool | None:
        """Whether none of its parameters is trained; None if it has none."""
        parameters = list(module.parameters(recurse=recurse))
        if self._trained is None:
            return not any(p.requires_grad for p in parameters) if parameters else None
        return not any(id(p) in self._trained for p in parameters) if parameters else None

    def _shapes_of(self, path: str) -> tuple[tuple[int, ...], ...]:
        if path not in self._shapes:
            parameters = self._modules[path].parameters()
            self._shapes[path] = tuple(tuple(_shape(parameter)) for parameter in parameters)
        return self._shapes[path]


def weights_before(model: nn.Module) -> dict[str, str | None]:
    """For every module the nearest one before it, in definition order, with own parameters.

    Example:
        >>> weights_before(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)))["2"]
        '0'
    """
    before: dict[str, str | None] = {}
    nearest = None
    for path, module in model.named_modules():
        before[path] = nearest
        if list(module.parameters(recurse=False)):
            nearest = path
    return before


def _shape(parameter: nn.Parameter) -> tuple[int, ...]:
    return () if nn.parameter.is_lazy(parameter) else tuple(parameter.shape)
