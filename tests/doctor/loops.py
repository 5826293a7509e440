"""Training loops that the tests of the doctor watch."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from normscope.doctor import watch
from normscope.records import Diagnosis
from tests.doctor.networks import rows, small


def watched(
    step: Callable[[nn.Module, int], Tensor | None],
    *,
    model: nn.Module | None = None,
    steps: int = 6,
    then: Callable[[nn.Module], object] | None = None,
) -> Diagnosis:
    """Watch some steps of plain gradient descent.

    Args:
        step: computes a loss, by the model and the number of the step; None for no step.
        model: by default a small one.
        steps: how many.
        then: called after each step: a validation, say.
    """
    model = small() if model is None else model
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(asking, lr=0.05)
    with watch(model, optimizer) as loop:
        for number in range(steps):
            loss = step(model, number)
            if loss is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if then is not None:
                then(model)
    return loop.diagnosis()


def loss_on(model: nn.Module, *inputs: Tensor) -> Tensor:
    """The sum of the mean squares of what it answers, each in a pass of its own."""
    losses: Iterable[Tensor] = [model(x).square().mean() for x in inputs]
    return torch.stack(list(losses)).sum()


def plain(model: nn.Module, number: int) -> Tensor:
    """A step like any other."""
    return loss_on(model, rows(seed=number))
