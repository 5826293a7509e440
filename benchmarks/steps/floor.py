"""The floor: what no step can do without, and nothing else.

The matrix products of the network, forward and both backward, into buffers that are made once, and
one fused pass of Adam over one flat vector of all parameters. It computes nothing useful.
"""

from typing import Any

import torch

from benchmarks.steps._torch import set_up
from benchmarks.steps.task import LEARNING_RATE, Task
from benchmarks.worker import Pace


@torch.no_grad()
def run(pace: Pace, **job: Any) -> None:
    """Products and update, again and again."""
    set_up()
    task = Task(**job)
    weights = [torch.from_numpy(weight).t().contiguous() for weight in task.weights()]
    inputs = [torch.randn(task.batch, columns) for columns, _ in task.shapes]
    outputs = [torch.randn(task.batch, columns) for _, columns in task.shapes]
    by_inputs, by_weights = map(torch.empty_like, inputs), map(torch.empty_like, weights)
    layers = list(zip(weights, inputs, outputs, by_inputs, by_weights, strict=True))
    flat, gradient, first, second = (torch.zeros(task.parameters) for _ in range(4))
    step = torch.zeros(())
    backwards = list(enumerate(layers))[::-1]
    while True:
        for weight, x, s, _, _ in layers:
            torch.mm(x, weight.t(), out=s)
        for index, (weight, x, s, by_x, by_weight) in backwards:
            torch.mm(s.t(), x, out=by_weight)
            if index > 0:
                torch.mm(s, weight, out=by_x)
        step.add_(1)
        torch._fused_adam_(
            [flat], [gradient], [first], [second], [], [step],
            lr=LEARNING_RATE, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8,
            amsgrad=False, maximize=False,
        )  # fmt: skip
        pace()
