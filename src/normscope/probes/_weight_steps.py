"""The last step of every weight row: what all probes of weights and updates are made of."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from normscope.probes._moment import Moment
from normscope.probes._summaries import exact

_AT_ONCE = 2**15  # numbers, which stay in a core's cache


@dataclass(frozen=True, eq=False)
class Products:
    """The inner products of w, its step d = w' - w, and its gradient g; one per row of weights.

    All that lengths and angles of the three need, so that a layer is gone through once. The step is
    subtracted in float64, where the difference of two float32 numbers is all but exact.

    Attributes:
        ww: <w, w>, of the weights before the step.
        wd: <w, d>.
        dd: <d, d>.
        tt: <t, t> of the tangential part t = d - (wd/ww) w; it is formed before it is squared,
            since dd - wd²/ww loses small angles. Of a row of zeros it is all of d.
        wg: <w, g>.
        gg: <g, g>.

    Example:
        >>> p = Products.of(*(torch.tensor([row]) for row in ([3.0, 4.0], [0.0, 5.0], [1.0, 0.0])))
        >>> p.ww, p.wd, p.gg
        (tensor([25.]...), tensor([-5.]...), tensor([1.]...))
        >>> torch.rad2deg(p.angle)  # arccos(4/5)
        tensor([36.8699]...)
    """

    ww: Tensor
    wd: Tensor
    dd: Tensor
    tt: Tensor
    wg: Tensor
    gg: Tensor

    @classmethod
    def of(cls, before: Tensor, after: Tensor, gradient: Tensor) -> "Products":
        """Of matrices ``[rows, inputs]``, some rows at a time."""
        rows = max(1, _AT_ONCE // max(1, before.shape[1]))
        parts = (matrix.split(rows) for matrix in (before, after, gradient))
        products = [_of_rows(*part) for part in zip(*parts, strict=True)]
        return cls(*(torch.cat(product) for product in zip(*products, strict=True)))

    @property
    def whole(self) -> "Products":
        """Of all rows as one vector.

        What is tangential to it is so to its rows, or is that one row grows more than another.
        """
        ww, wd = self.ww.sum(), self.wd.sum()
        apart = _growth(self.ww, self.wd) - _growth(ww, wd)
        tt = (self.tt + apart**2 * self.ww).sum()
        return Products(ww, wd, self.dd.sum(), tt, self.wg.sum(), self.gg.sum())

    @property
    def length(self) -> Tensor:
        """||w||."""
        return self.ww.sqrt()

    @property
    def tangent(self) -> Tensor:
        """The length of that part of d which is at right angles to w."""
        return self.tt.sqrt()

    @property
    def angle(self) -> Tensor:
        """Between w and w + d, in radians; by its tangent, since arccos loses small angles."""
        return torch.atan2(self.tangent, self.length + self.wd / self.length)


def _of_rows(before: Tensor, after: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    """What `Products` holds of them, in its order."""
    w, g = exact(before), exact(gradient)
    d = exact(after) - w
    ww, wd = _dot(w, w), _dot(w, d)
    t = d - _growth(ww, wd)[:, None] * w
    return ww, wd, _dot(d, d), _dot(t, t), _dot(w, g), _dot(g, g)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Row by row."""
    products: Tensor = torch.linalg.vecdot(a, b)
    return products


def _growth(ww: Tensor, wd: Tensor) -> Tensor:
    """How much of itself w grows by, to first order; 0 where it is 0."""
    return torch.where(ww == 0, 0.0, wd / ww)


@dataclass(frozen=True, eq=False)
class WeightStep:
    """The step of one weight matrix or kernel.

    Attributes:
        path: of its module; of a module that has several, the parameter's own name.
        rows: the products of each row: of the weights that one output unit is made with.
        rate: the learning rate; NaN where it is not known.
    """

    path: str
    rows: Products
    rate: float


_TAKEN: WeakKeyDictionary[Moment, list[WeightStep]] = WeakKeyDictionary()


def weight_steps(moment: Moment) -> list[WeightStep]:
    """The step of every parameter of two axes or more, in the order of definition, without a pass.

    Computed once for a moment. Left out are those without a gradient, and embeddings, of which a
    step knows a few rows only. A tied weight is there once.
    """
    if moment not in _TAKEN:
        _TAKEN[moment] = [
            WeightStep(
                path if kind == "weight" else name,
                _products(moment, module, name),
                moment.rates.get(name, torch.nan),
            )
            for name in moment.after
            for path, _, kind in [name.rpartition(".")]
            for module in [moment.network.get_submodule(path)]
            if _has_a_step(moment, module, name)
        ]
    return _TAKEN[moment]


def _has_a_step(moment: Moment, module: nn.Module, name: str) -> bool:
    known = all(name in of for of in (moment.before, moment.gradients))
    weight = moment.after[name]
    is_matrix = weight.ndim > 1 and weight.is_floating_point()
    return known and is_matrix and not isinstance(module, nn.Embedding | nn.EmbeddingBag)


def _products(moment: Moment, module: nn.Module, name: str) -> Products:
    before, after, gradient = (
        _rows(module, of[name]) for of in (moment.before, moment.after, moment.gradients)
    )
    return Products.of(before, after, gradient)


def _rows(module: nn.Module, weight: Tensor) -> Tensor:
    """``[units, inputs]``; a transposed convolution keeps its inputs first, group by group."""
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        grouped = weight.unflatten(0, (module.groups, -1)).transpose(1, 2)
        weight = grouped.flatten(0, 1)
    rows: Tensor = weight.flatten(1)
    return rows
