"""How far a step of the layers before moves a layer's gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from normscope.probes._moment import Moment, Parameters
from normscope.probes._summaries import Writer, exact
from normscope.probes._vectors import length, product, ratio
from normscope.records import Reading


@dataclass
class CovariateShift:
    r"""Internal covariate shift, measured by gradients.

    .. math::
        \lVert G_i - G'_i \rVert_2, \qquad G_i = \nabla_{W_i} L(\theta_1^t, \dots, \theta_k^t),
        \quad G'_i = \nabla_{W_i} L(\theta_1^{t+1}, \dots, \theta_{i-1}^{t+1}, \theta_i^t, \dots)

    Both gradients are of the probe batch's loss, by the weight matrix or kernel of layer i alone,
    so that networks with and without a norm are compared in the same parameters. What moves from
    before the step to after it is *every* parameter (weights, biases, γ, β) of the modules that a
    pass calls before the layer. A layer's own norm comes after it, and stays.

    (Santurkar, Tsipras, Ilyas & Madry 2018, arXiv 1805.11604, definition 2.1. They found that batch
    norm often makes it no smaller, while training gets better.)

    Quantities, per layer; 0, 0 and 1 in the first, whose inputs nothing moves:

    - ``shift``: ‖G − G'‖,
    - ``relative-shift``: ‖G − G'‖ / ‖G‖, since a norm rescales gradients,
    - ``cosine``: of the angle between G and G'.

    NaN where a gradient is 0.

    Cost: L FB for L layers, L − 1 of which go back to one layer only, and 2 F.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> before = {"0.weight": torch.tensor([[1.0]]), "1.weight": torch.tensor([[1.0]])}
        >>> _ = network.load_state_dict({name: 2 * w for name, w in before.items()})
        >>> moment = Moment(1, network, lambda n: n(torch.ones(1, 1)).sum(), before, {}, {})
        >>> [(r.layer, r.value) for r in CovariateShift().read(moment) if r.quantity == "shift"]
        [('0', 0.0), ('1', 1.0)]
    """

    needs_loss: ClassVar[bool] = True

    name: str = "covariate-shift"
    every: int = 1000

    def read(self, moment: Moment) -> list[Reading]:
        """The shift, of every layer that has weights."""
        layers = [layer for layer in moment.layers if layer.weight in moment.before]
        if not layers:
            return []
        _, gradients = moment.gradient_at(moment.before, [layer.weight for layer in layers])
        places = _places(moment)
        write, found = Writer(moment, self.name), list[Reading]()
        for layer in layers:
            gradient = gradients[layer.weight]
            moved = {n for n, place in places.items() if place < places[layer.weight]}
            shifted = _gradient(moment, layer.weight, moved) if moved else gradient
            found += [
                write.number(quantity, value, layer.path)
                for quantity, value in _compared(gradient, shifted).items()
            ]
        return found


def _gradient(moment: Moment, weight: str, moved: set[str]) -> Tensor:
    """By one weight, where some parameters are as they are after the step."""
    mixed: Parameters = {
        n: (moment.after if n in moved else moment.before)[n] for n in moment.before
    }
    return moment.gradient_at(mixed, [weight])[1][weight]


def _compared(gradient: Tensor, shifted: Tensor) -> dict[str, float]:
    """The quantities."""
    distance, norm = length([exact(gradient) - exact(shifted)]), length([gradient])
    inner = product({"": gradient}, {"": shifted})
    return {
        "shift": distance,
        "relative-shift": ratio(distance, norm),
        "cosine": ratio(inner, norm * length([shifted])),
    }


def _places(moment: Moment) -> Mapping[str, int]:
    """Every parameter's place in a pass: that of the first call of the module that owns it.

    One that is not called itself (attention's output weights) stands where what is around it does.
    """
    called = {path: place for place, path in enumerate(moment.calls)}

    def place(owner: str) -> int:
        while owner and owner not in called:
            owner = owner.rpartition(".")[0]
        return called.get(owner, -1)

    return {name: place(name.rpartition(".")[0]) for name in moment.before}
