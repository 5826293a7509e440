"""What people pass as an optimizer."""

from collections.abc import Iterable, Iterator

from torch.optim import Optimizer

from normscope._errors import InputError


def optimizers_of(given: object) -> Iterator[Optimizer]:
    """The optimizers that somebody passed: one, several, or none; wrapped ones as what is inside.

    Raises:
        InputError: when it comes to something else.

    Example:
        >>> from torch import nn, optim
        >>> optimizer = optim.SGD(nn.Linear(2, 3).parameters(), lr=0.1)
        >>> [optimizer is each for each in optimizers_of([optimizer])], list(optimizers_of(None))
        ([True], [])
    """
    several = given if isinstance(given, Iterable) else () if given is None else (given,)
    for wrapped in several:
        each: object = getattr(wrapped, "optimizer", wrapped)
        if not isinstance(each, Optimizer):
            msg = (
                f"optimizer is of type {type(each).__name__}; pass a torch.optim.Optimizer, "
                "several of them, or none"
            )
            raise InputError(msg)
        yield each
