"""The optimizers of a training, however they are handed over."""

from collections.abc import Iterable

from torch.optim import Optimizer

from normscope._errors import InputError


def bare_optimizers(given: object) -> tuple[Optimizer, ...]:
    """One optimizer, several, or none; of those that wrap another, what is inside.

    Raises:
        InputError: if something else is among them.

    Example:
        >>> bare_optimizers(None)
        ()
    """
    if given is None:
        return ()
    several = given if isinstance(given, Iterable) else (given,)
    bare: list[Optimizer] = []
    for wrapped in several:
        each: object = getattr(wrapped, "optimizer", wrapped)
        if not isinstance(each, Optimizer):
            msg = (
                f"optimizer is of type {type(each).__name__}; pass a torch.optim.Optimizer, "
                "several of them, or none"
            )
            raise InputError(msg)
        bare.append(each)
    return tuple(bare)
