"""The loss and its gradient along the gradient, and along the step that the optimizer made."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from normscope.probes._moment import Moment, Parameters
from normscope.probes._vectors import length, ratio
from normscope.records import Reading

_Lengths = dict[str, float]

MULTIPLES = tuple(float(multiple) for multiple in np.geomspace(1 / 4, 4, 8))
"""Of the step's length, where the landscape is looked at: 0.25, 0.37, 0.55, 0.82, 1.2, …, 4."""


@dataclass
class Landscape:
    r"""How smooth the loss is, along the gradient and along the optimizer's real step.

    From the parameters θ before the step, at θ + m d for m on a grid of 8 in [1/4, 4], each times
    1.49 the one before. Along ``step``, d is the step that was made. Along ``gradient``, d is −∇L
    of the probe batch, made as long as the step: with plain gradient descent both are the paper's
    line, and m counts in learning rates. With any other optimizer the lengths stay comparable (and
    large enough to be seen in float32, which Adam's rate times the gradient often is not).

    .. math::
        \max_m L - \min_m L, \qquad \lVert \nabla L(\theta) - \nabla L(\theta + m d) \rVert,
        \qquad \max_m \frac{\lVert \nabla L(\theta) - \nabla L(\theta + m d) \rVert}
        {\lVert m d \rVert}

    A norm makes its weights' scale free: β falls as 1/‖w‖² while nothing happens. So it is read
    again in coordinates in which every weight matrix and kernel has length 1, as

    .. math::
        \max_m \frac{\sqrt{\sum_l \lVert w_l \rVert^2 \lVert \Delta_l \rVert^2}}
        {\sqrt{\sum_l \lVert m d_l \rVert^2 / \lVert w_l \rVert^2}}

    with Δ the gradient's change; biases, γ and β are left out of both sums. For a single matrix
    that is β ‖w‖².

    (Santurkar, Tsipras, Ilyas & Madry 2018, arXiv 1805.11604, figure 4: loss variation, gradient
    predictiveness and effective β-smoothness, all smaller with batch norm, for a deep network and
    SGD. The real step, and the coordinates without scale, are ours.)

    Quantities, of the network, along both directions:

    - ``gradient-loss``, ``step-loss``: L over the grid, as values,
    - ``gradient-loss-variation``, ``step-loss-variation``: the largest of these minus the smallest,
    - ``gradient-gradient-change``, ``step-gradient-change``: ‖∇L(θ) − ∇L(θ + m d)‖ over the grid,
      as values; the smaller, the more a gradient predicts,
    - ``gradient-smoothness``, ``step-smoothness``: β, the largest change per length,
    - ``gradient-scale-free-smoothness``, ``step-scale-free-smoothness``: that in coordinates
      without scale.

    NaN where there was no step.

    Cost: 17 FB.

    Example:
        >>> from torch import nn
        >>> network = nn.Linear(1, 1, bias=False)
        >>> _ = network.load_state_dict({"weight": torch.tensor([[1.5]])})
        >>> before = {"weight": torch.tensor([[2.0]])}
        >>> moment = Moment(1, network, lambda n: 3 * n.weight.square().sum(), before, {}, {})
        >>> of = {r.quantity: r.value for r in Landscape().read(moment)}
        >>> round(of["step-smoothness"], 4), round(of["step-scale-free-smoothness"], 4)
        (6.0, 24.0)
    """

    needs_loss: ClassVar[bool] = True

    name: str = "landscape"
    every: int = 2000

    def read(self, moment: Moment) -> list[Reading]:
        """The curves and what follows from them, along both directions."""
        _, gradient = moment.gradient_at(moment.before)
        step = {name: moment.after[name] - moment.before[name] for name in gradient}
        scale = -ratio(length(step.values()), length(gradient.values()))
        down = {name: scale * part for name, part in gradient.items()}
        return [
            reading
            for along, direction in (("gradient", down), ("step", step))
            for reading in self._along(along, direction, gradient, moment)
        ]

    def _along(
        self, along: str, direction: Parameters, gradient: Parameters, moment: Moment
    ) -> list[Reading]:
        """What is seen along one direction."""
        losses, changes = list[float](), list[_Lengths]()
        for multiple in MULTIPLES:
            there = moment.moved(multiple, direction, moment.before)
            loss, slopes = moment.gradient_at(there, list(gradient))
            losses.append(loss)
            changes.append(_lengths({name: gradient[name] - slopes[name] for name in gradient}))
        start, way = _lengths({name: moment.before[name] for name in gradient}), _lengths(direction)
        kernels = {n: start[n] for n in start if moment.before[n].ndim > 1 and start[n] > 0}
        curves = {"loss": losses, "gradient-change": [math.hypot(*c.values()) for c in changes]}
        numbers = {
            "loss-variation": _largest(losses) + _largest([-loss for loss in losses]),
            "smoothness": _steepest(changes, way, dict.fromkeys(start, 1.0)),
            "scale-free-smoothness": _steepest(changes, way, kernels),
        }
        step, probe = moment.step, self.name
        return [
            Reading(step=step, probe=probe, quantity=f"{along}-{quantity}", values=tuple(values))
            for quantity, values in curves.items()
        ] + [
            Reading(step=step, probe=probe, quantity=f"{along}-{quantity}", value=value)
            for quantity, value in numbers.items()
        ]


def _lengths(parts: Parameters) -> _Lengths:
    """Of each part by itself."""
    return {name: length([part]) for name, part in parts.items()}


def _steepest(changes: list[_Lengths], way: _Lengths, units: _Lengths) -> float:
    """The largest change of the gradient per length of the way.

    Args:
        changes: of each parameter's gradient, at each multiple of the way.
        way: how far each parameter goes.
        units: the length that counts as 1, of each parameter that counts.
    """
    far = math.hypot(*(way[name] / unit for name, unit in units.items()))
    steep = [math.hypot(*(change[name] * units[name] for name in units)) for change in changes]
    return _largest([ratio(a, m * far) for a, m in zip(steep, MULTIPLES, strict=True)])


def _largest(values: list[float]) -> float:
    """NaN if one of them is."""
    return float(torch.tensor(values, dtype=torch.float64).max())
