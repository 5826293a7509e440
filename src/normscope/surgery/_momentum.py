"""`set_momentum`: how much a batch moves the running statistics."""

from collections.abc import Iterable
from typing import Literal

from torch import nn

from normscope._errors import InputError
from normscope.anatomy import RunningNorm, all_or_nothing, plain_path, running_norms
from normscope.records import Change, Left, Receipt
from normscope.surgery._choice import chosen

_NOTE = (
    "This cures the cause from the next training batch on. The stored statistics are unchanged, "
    "those of the old momentum: normscope.recalibrate(model, loader) computes them from data."
)


def set_momentum(
    model: nn.Module,
    momentum: float | Literal["keras"] | None,
    modules: str | Iterable[str] | None = None,
) -> Receipt:
    """Set the momentum of batch norms, or convert it from the Keras convention, in place.

    As PyTorch means it: the weight of the *new*, ``running += momentum * (batch - running)``. Keras
    and TensorFlow mean the weight of the *old*, so that their 0.99 is 0.01 here.

    Args:
        model: any.
        momentum: the weight of the new, in (0, 1]; None for the plain average of all batches from
            the last reset on; ``"keras"`` to replace every m above 0.5 by 1 - m.
        modules: which: paths of batch norms or of modules around them, or patterns; all by default.

    Returns:
        The momenta before and after, by layer.

    Raises:
        InputError: if the momentum is none of these, a layer cannot have it, a name matches
            nothing, or there is nothing to change.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=0.99))
        >>> set_momentum(model, "keras").changed[0].change
        'its momentum was 0.99 and is 0.01'
        >>> model[1].momentum
        0.01
    """
    _refuse(momentum)
    norms = {
        path: norm
        for path, norm in running_norms(model).items()
        if hasattr(norm.module, "momentum") and norm.module.running_mean is not None
    }
    wanted = {plain_path(model, path): norms[path] for path in chosen(model, norms, modules)}
    changes, left = {}, {}
    old = [norm.momentum for norm in wanted.values()]
    with all_or_nothing(model):
        for path, norm in wanted.items():
            new = _new(norm, momentum)
            if isinstance(new, str):
                left[path] = new
            else:
                changes[path] = f"its momentum was {norm.momentum} and is {new[0]}"
                _set(path, norm.module, new[0])
        if not changes and not left:
            msg = f"set_momentum: {type(model).__name__} has no layer with a momentum."
            raise InputError(msg)
        before, after = _figures(old, [norm.momentum for norm in wanted.values()])
        return Receipt(
            operation="set_momentum",
            changed=tuple(Change(module=path, change=done) for path, done in changes.items()),
            left=tuple(Left(module=path, reason=why) for path, why in left.items()),
            notes=(_NOTE,) if changes else (),
            before=before,
            after=after,
        )


def _refuse(momentum: object) -> None:
    """What no layer can have.

    Raises:
        InputError: saying what it can.
    """
    if momentum is None or momentum == "keras":
        return
    if isinstance(momentum, float | int) and not isinstance(momentum, bool) and 0 < momentum <= 1:
        return
    msg = (
        f"momentum is {momentum!r}; it is the weight of the new, above 0 and at most 1 (Keras's m "
        'is 1 - m here), None for the plain average, or "keras" to convert.'
    )
    if momentum == 0:
        msg += " For statistics that never move: normscope.freeze(model)."
    raise InputError(msg)


def _new(norm: RunningNorm, momentum: float | str | None) -> tuple[float | None] | str:
    """The new momentum in a tuple, or why there is none."""
    old = norm.momentum
    if momentum != "keras":
        assert not isinstance(momentum, str)
        return "it has this momentum already" if old == momentum else (momentum,)
    if old is None:
        return "its momentum is None, the plain average, in both conventions"
    if old >= 1:
        return f"its momentum is {old}, and statistics that never move are no Keras layer's"
    # Rounded, so that 0.99 becomes 0.01 and not 0.010000000000000009.
    return (round(1 - old, 15),) if old > 0.5 else f"its momentum is {old}, as PyTorch means it"


def _set(path: str, module: nn.Module, momentum: float | None) -> None:
    """Set it.

    Raises:
        InputError: if a layer warms up, which needs a number.
    """
    if momentum is None and getattr(module, "warm_up", False):
        msg = f"{path}: it warms up (warm_up=True), which needs a number as its momentum."
        raise InputError(msg)
    vars(module)["momentum"] = momentum


def _figures(
    before: list[float | None], after: list[float | None]
) -> tuple[dict[str, float], dict[str, float]]:
    """The span of what there was and is; a plain average has no momentum, and is counted."""
    both = before, after
    numbers = [[momentum for momentum in momenta if momentum is not None] for momenta in both]
    figures: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for told, momenta, found in zip(figures, both, numbers, strict=True):
        if all(numbers):
            told |= {"smallest momentum": min(found), "largest momentum": max(found)}
        if None in before + after:
            told["layers that take the plain average"] = momenta.count(None)
    return figures
