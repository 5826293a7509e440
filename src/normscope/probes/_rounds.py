"""When a step of a training begins and when it is over, where several optimizers make it."""

from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer


class Rounds:
    """Optimizers that take turns make one step together.

    A step begins with the first of them and is over after the last, before the first one's next.
    Who takes part is learned from the first round: it ends when one that has had its turn has
    another, or earlier, when every optimizer that was named has had one, or when the first holds
    all parameters that learn. An optimizer that nobody knows begins a new first round.

    Args:
        network: whose parameters they change.
        named: those that count; empty for all that hold a parameter of the network.

    Attributes:
        steps: those that are over.
    """

    def __init__(self, network: nn.Module, named: Sequence[Optimizer]) -> None:
        self._network, self._named = network, tuple(named)
        self._order: list[Optimizer] = []
        self._known = False
        self.steps = 0

    @property
    def optimizers(self) -> list[Optimizer]:
        """Those that take part, in their order."""
        return list(self._order)

    def counts(self, optimizer: Optimizer) -> bool:
        """Whether a turn of this one is of interest."""
        if self._named:
            return any(optimizer is each for each in self._named)
        held = _held(optimizer)
        return any(id(parameter) in held for parameter in self._network.parameters())

    def begins(self, optimizer: Optimizer) -> bool:
        """Its turn is next: whether a step begins with it."""
        has_had_one = any(optimizer is each for each in self._order)
        if not self._known and has_had_one:
            self._known = True
            self.steps += 1
        elif not has_had_one:
            if self._known:
                self._order = []
            self._order.append(optimizer)
            self._known = self._complete()
        return optimizer is self._order[0]

    def ends(self, optimizer: Optimizer) -> bool:
        """Its turn is over: whether the step is, which is then counted."""
        over = self._known and optimizer is self._order[-1]
        self.steps += over
        return over

    def _complete(self) -> bool:
        if self._named:
            return len(self._order) == len(self._named)
        learning = {id(p) for p in self._network.parameters() if p.requires_grad}
        return len(self._order) == 1 and learning <= _held(self._order[0])


def _held(optimizer: Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
