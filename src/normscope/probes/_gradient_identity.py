"""What a batch norm does to the gradient that passes through it: an identity, term by term."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from normscope.probes._moment import LayerSums, Moment
from normscope.probes._summaries import Writer, exact
from normscope.probes._units import layer_sums
from normscope.probes._vectors import ratio
from normscope.records import Reading

_CLOSE = 1e-2
"""How far, relative to its deviation, an output may be from a batch norm's to count as one's."""


@dataclass
class GradientIdentity:
    r"""How much of the gradient a batch norm rescales, centers away and projects away.

    For a unit with m values z in the batch, sums that a batch norm makes y = γ ẑ + β of, where
    ẑ = (z − mean) / σ and σ² = variance + ε:

    .. math::
        \lVert \partial_z L \rVert^2 = \frac{\gamma^2}{\sigma^2} \Big[
        \lVert \partial_y L \rVert^2 - m \, \mathrm{mean}(\partial_y L)^2
        - m (1 + \epsilon / \sigma^2) \, \mathrm{mean}(\partial_y L \cdot \hat z)^2 \Big]

    The three terms are rescaling, centering (the gradient through the mean) and projection (that
    through the variance). A layer's numbers are sums over its units. Read is every norm right
    behind a layer with weights whose output on the probe batch is γ ẑ + β, whatever its class.

    (Santurkar, Tsipras, Ilyas & Madry 2018, arXiv 1805.11604, theorem 4.1, where it bounds a
    network with the norm by one without. Within one network both sides are equal, and with the term
    in ε for every ε.)

    Cost: 1 FB, which the other probes of activations share.

    Quantities, per batch norm, by its own path:

    - ``scaling``: sqrt(Σ (γ/σ)² ‖dL/dy‖² / Σ ‖dL/dy‖²), the factor in the gradient's norm,
    - ``centering``: the share of the rescaled gradient's square that centering takes away,
    - ``projection``: the share that projection takes away; what is left of 1 gets through,
    - ``residual``: Σ |left − right side| / Σ (γ/σ)² ‖dL/dy‖², which rounding makes about 1e-6 in
      float32, and more where means are far larger than deviations. Anything near the two shares
      says that no gradient flows through the statistics, or that another path leads around the
      norm.

    NaN where no gradient comes.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        >>> x = torch.randn(50, 4)
        >>> now = {name: p.detach().clone() for name, p in network.named_parameters()}
        >>> moment = Moment(1, network, lambda n: n(x).square().mean(), now, {}, {})
        >>> of = {r.quantity: r.value for r in GradientIdentity().read(moment)}
        >>> list(of), of["residual"] < 1e-5
        (['scaling', 'centering', 'projection', 'residual'], True)
    """

    needs_loss: ClassVar[bool] = True

    name: str = "gradient-identity"
    every: int = 500

    def read(self, moment: Moment) -> list[Reading]:
        """The terms, of every batch norm behind a layer with weights."""
        write = Writer(moment, self.name)
        return [
            write.number(quantity, value, seen.layer.norm)
            for seen in layer_sums(moment)
            if seen.layer.norm is not None
            for quantity, value in _terms(seen, moment.network.get_submodule(seen.layer.norm))
        ]


def _terms(seen: LayerSums, norm: nn.Module) -> Iterator[tuple[str, float]]:
    """The quantities of one layer; none where its norm is not one over the batch."""
    z, y, dz, dy = map(
        _by_unit, (seen.sums, seen.normalized, seen.sums_gradient, seen.normalized_gradient)
    )
    gamma, beta = _affine(norm, "weight", 1.0, z), _affine(norm, "bias", 0.0, z)
    if z.shape != y.shape or gamma is None or beta is None:
        return
    variance, mean = torch.var_mean(z, 0, correction=0)
    eps = float(getattr(norm, "eps", 0.0))
    sigma = (variance + eps).sqrt()
    z_hat = (z - mean) / sigma
    if (gamma * z_hat + beta - y).norm() > _CLOSE * (y - y.mean(0)).norm():
        return
    m, factor = len(z), (gamma / sigma).square()
    rescaled = factor * dy.square().sum(0)
    centered = factor * m * dy.mean(0).square()
    projected = factor * m * (1 + eps / sigma.square()) * (dy * z_hat).mean(0).square()
    missed = (dz.square().sum(0) - (rescaled - centered - projected)).abs()
    whole = float(rescaled.sum())
    yield "scaling", ratio(whole, float(dy.square().sum())) ** 0.5
    yield "centering", ratio(float(centered.sum()), whole)
    yield "projection", ratio(float(projected.sum()), whole)
    yield "residual", ratio(float(missed.sum()), whole)


def _by_unit(values: Tensor) -> Tensor:
    """``[m, units]``, in float64: units are axis 1, as batch norms have them."""
    return exact(values).movedim(1, -1).flatten(0, -2)


def _affine(norm: nn.Module, name: str, default: float, z: Tensor) -> Tensor | None:
    """What a norm learned, one number per unit; None if that has another form."""
    learned = getattr(norm, name, None)
    if learned is None:
        return z.new_full(z.shape[1:], default)
    fits = isinstance(learned, Tensor) and learned.shape == z.shape[1:]
    return exact(learned) if fits else None
