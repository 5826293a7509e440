"""A training right after one step, as probes see it: nothing in it can be changed by looking."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from normscope.anatomy import WeightLayer, preserved, weight_layers
from normscope.records import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

Parameters = Mapping[str, Tensor]
"""Values for parameters, by their names in the network."""


class Probe(Protocol):
    """One measurement.

    Attributes:
        name: as in ``stable-rank``.
        every: how many steps lie between two readings, unless somebody says otherwise.
        needs_loss: whether it asks a moment for anything that calls the network; one that does not
            needs no loss.
    """

    name: str
    every: int

    @property
    def needs_loss(self) -> bool:
        """See above; an attribute does."""

    def read(self, moment: "Moment") -> Sequence[Reading]:
        """What is seen at one moment."""


@dataclass(frozen=True, eq=False)
class LayerSums:
    """What one weight layer makes of the probe batch, and the gradients of its loss.

    Attributes:
        layer: which.
        sums: its output z, before the norm.
        normalized: the norm's output y; the same as `sums` where there is none.
        sums_gradient: dL/dz, of the mean loss; zeros where z does not reach the loss.
        normalized_gradient: dL/dy.
        moved: what modules behind make of `normalized` that only shift and scale units; the same
            as that where there are none.
    """

    layer: WeightLayer
    sums: Tensor
    normalized: Tensor
    sums_gradient: Tensor
    normalized_gradient: Tensor
    moved: Tensor


@dataclass(frozen=True, eq=False)
class Moment:
    """A training right after one step.

    The network is called through copies of its buffers and with whatever parameters are asked for,
    in training mode: batch norms normalize by the probe batch. Its own tensors, hooks, modes,
    gradients and the random states stay as they are.

    Attributes:
        step: how many steps the optimizer has made.
        network: after the step.
        loss: the mean loss of a network on the probe batch, which is the same at every moment.
        before: every parameter as it was before the step, detached copies.
        gradients: those of the step, on the training's own batch.
        rates: the learning rate of every parameter.
    """

    step: int
    network: nn.Module
    loss: Callable[[nn.Module], Tensor]
    before: Parameters
    gradients: Parameters
    rates: Mapping[str, float]

    @cached_property
    def after(self) -> dict[str, Tensor]:
        """Every parameter as it is after the step; not copies."""
        return {name: p.detach() for name, p in self.network.named_parameters()}

    @cached_property
    def layers(self) -> tuple[WeightLayer, ...]:
        """The layers that have weights, in the order of the calls."""
        with self._at_work():
            return weight_layers(self.network, self.loss)

    @cached_property
    def calls(self) -> tuple[str, ...]:
        """The paths of all modules that a pass calls, in the order of their first calls."""
        order: dict[str, None] = {}
        with torch.no_grad(), self._at_work(), ExitStack() as hooks:
            for path, module in self.network.named_modules():
                hooks.callback(module.register_forward_pre_hook(_noting(order, path)).remove)
            self.loss(self.network)
        return tuple(order)

    def moved(self, amount: float, direction: Parameters, start: Parameters) -> dict[str, Tensor]:
        """`start` + `amount` times `direction`; parameters without a direction stay."""
        return {
            name: value + amount * direction[name] if name in direction else value
            for name, value in start.items()
        }

    def loss_at(self, parameters: Parameters) -> float:
        """The loss of the probe batch with these parameters."""
        with torch.no_grad(), self._at_work():
            return float(self._loss(parameters))

    def gradient_at(
        self, parameters: Parameters, wanted: Sequence[str] | None = None
    ) -> tuple[float, dict[str, Tensor]]:
        """The loss of the probe batch with these parameters, and its gradient by their names.

        Args:
            parameters: values for all.
            wanted: of which the gradient is asked; by default of all that learn.
        """
        names = wanted or [n for n, p in self.network.named_parameters() if p.requires_grad]
        given = {name: value.detach() for name, value in parameters.items()}
        leaves = [given[name].clone().requires_grad_() for name in names]
        with torch.enable_grad(), self._at_work():
            loss = self._loss(given | dict(zip(names, leaves, strict=True)))
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return float(loss.detach()), dict(zip(names, gradients, strict=True))

    def curvature_at(self, parameters: Parameters, direction: Parameters) -> dict[str, Tensor]:
        """The Hessian of the probe batch's loss with these parameters, times a direction.

        Args:
            parameters: values for all.
            direction: by the names of the parameters that the Hessian is of.
        """
        given = {name: value.detach() for name, value in parameters.items()}
        leaves = [given[name].clone().requires_grad_() for name in direction]
        # Fused attention has no second derivative.
        with torch.enable_grad(), self._at_work(), sdpa_kernel(SDPBackend.MATH):
            loss = self._loss(given | dict(zip(direction, leaves, strict=True)))
            slopes = torch.autograd.grad(
                loss, leaves, create_graph=True, allow_unused=True, materialize_grads=True
            )
            along = torch.stack([(slopes[i] * v).sum() for i, v in enumerate(direction.values())])
            if not along.requires_grad:  # the loss is linear
                return {name: torch.zeros_like(part) for name, part in direction.items()}
            products = torch.autograd.grad(
                along.sum(), leaves, allow_unused=True, materialize_grads=True
            )
        return dict(zip(direction, products, strict=True))

    def sums_at(self, parameters: Parameters) -> list[LayerSums]:
        """What every weight layer makes of the probe batch with these parameters."""
        given = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        seen: dict[str, Tensor] = {}
        with torch.enable_grad(), self._at_work(), ExitStack() as hooks:
            for layer in self.layers:
                for path in (layer.path, layer.norm, layer.moved_by):
                    if path is None:
                        continue
                    module = self.network.get_submodule(path)
                    handle = module.register_forward_hook(_keeping(seen, path))
                    hooks.callback(handle.remove)
            loss = self._loss(given)
            gradients = torch.autograd.grad(
                loss, list(seen.values()), allow_unused=True, materialize_grads=True
            )
        of = dict(zip(seen, gradients, strict=True))
        return [
            LayerSums(
                layer,
                seen[layer.path].detach(),
                seen[layer.norm or layer.path].detach(),
                of[layer.path],
                of[layer.norm or layer.path],
                seen[layer.moved_by or layer.norm or layer.path].detach(),
            )
            for layer in self.layers
        ]

    def _loss(self, parameters: Parameters) -> Tensor:
        """By `loss`, with other parameters and copies of the buffers in their place."""
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        loss: Tensor = functional_call(
            _Called(self.network, self.loss),
            {f"network.{name}": value for name, value in (buffers | dict(parameters)).items()},
            (),
        )
        return loss

    @contextmanager
    def _at_work(self) -> "Iterator[None]":
        """In training mode; whatever happens is undone."""
        with preserved(self.network):
            self.network.train()
            yield


class _Called(nn.Module):
    """A network and its loss as one module without input."""

    def __init__(self, network: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.network = network
        self._loss = loss

    def forward(self) -> Tensor:
        """The loss."""
        return self._loss(self.network)


def _keeping(seen: dict[str, Tensor], path: str) -> Callable[..., Tensor]:
    """A hook that keeps a module's first output; what writes into it in place gets a copy."""

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        seen.setdefault(path, output)
        return output.clone()

    return keep


def _noting(order: dict[str, None], path: str) -> Callable[..., None]:
    """A hook that notes that a module was called."""

    def note(_: nn.Module, __: Any) -> None:
        order.setdefault(path)

    return note
