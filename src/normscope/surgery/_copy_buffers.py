"""`copy_buffers`: the running statistics of one model for another with the same layers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from normscope._errors import InputError
from normscope.anatomy import all_or_nothing, in_float64, plain_path, running_norms, unwrapped
from normscope.records import Change, Receipt

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

_NOTE = (
    "This cures the symptom: the statistics describe what the source's layers are given, which is "
    "close to what the target's are only as long as their weights are close. "
    "normscope.recalibrate(target, loader) computes the target's own."
)
_AGAIN = (
    "An average of weights goes on moving: copy after its last update, or let it take buffers each "
    "time (AveragedModel(model, use_buffers=True))."
)


def copy_buffers(source: nn.Module, target: nn.Module, *, everything: bool = False) -> Receipt:
    """Copy running statistics, by name, from a model to its average, teacher or twin, in place.

    Both may be wrapped (`AveragedModel`, `DistributedDataParallel`, `DataParallel`,
    `torch.compile`): names are those inside. Counters stay whole numbers; the count of averaged
    models is the target's own.

    All or nothing: if anything raises, the target is as it was. The source is only read.

    Args:
        source: the model that was trained.
        target: the one whose buffers are overwritten.
        everything: copy all buffers, not only running means, variances and their counters.

    Returns:
        What was copied per module; before and after: how far the target's means were from the
        source's, in the source's deviations, at worst.

    Raises:
        InputError: if the models share buffers, a buffer is missing on one side, has another shape
            or holds no numbers yet, the source's are not finite or do not fit the target's dtype,
            or there is nothing to copy.

    Example:
        >>> from torch.optim.swa_utils import AveragedModel
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        >>> average = AveragedModel(model)
        >>> _ = model(torch.randn(8, 4))
        >>> copy_buffers(model, average).changed[0].change
        'running_mean, running_var, num_batches_tracked'
        >>> torch.equal(average.module[1].running_mean, model[1].running_mean)
        True
    """
    pairs = _pairs(_buffers(source, everything=everything), _buffers(target, everything=everything))
    before = _figures(pairs)
    with all_or_nothing(target), torch.no_grad():
        for pair in pairs.values():
            pair.target.copy_(pair.source)
        _refuse_what_does_not_fit(pairs)
        names: dict[str, list[str]] = {}
        for name in pairs:
            module, _, buffer = name.rpartition(".")
            names.setdefault(module, []).append(buffer)
        return Receipt(
            operation="copy_buffers",
            changed=tuple(Change(module=path, change=", ".join(n)) for path, n in names.items()),
            notes=(_NOTE, _AGAIN) if hasattr(target, "n_averaged") else (_NOTE,),
            before=before,
            after=_figures(pairs),
        )


class _Pair(NamedTuple):
    """A buffer of each model."""

    source: Tensor
    target: Tensor


def _buffers(model: nn.Module, *, everything: bool) -> dict[str, Tensor]:
    """The buffers in question, by their names in the model that a person wrote."""
    model = unwrapped(model)
    if everything:
        named = dict(model.named_buffers())
    else:
        named = {
            f"{path}.{name}" if path else name: buffer
            for path, norm in running_norms(model).items()
            for name in _STATISTICS
            if isinstance(buffer := getattr(norm.module, name, None), Tensor)
        }
    return {plain_path(model, name): buffer for name, buffer in named.items()}


def _pairs(source: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, _Pair]:
    """The buffers of both, side by side.

    Raises:
        InputError: if they do not fit together.
    """
    problems = [f"{name!r} is missing in the target" for name in source if name not in target]
    problems += [f"{name!r} is missing in the source" for name in target if name not in source]
    pairs = {name: _Pair(source[name], target[name]) for name in source if name in target}
    problems += [problem for name, pair in pairs.items() if (problem := _problem(name, pair))]
    if problems:
        more = f"; and {len(problems) - 5} more" * (len(problems) > 5)
        msg = f"copy_buffers: the models do not fit: {'; '.join(problems[:5])}{more}."
        raise InputError(msg)
    if not pairs:
        msg = "copy_buffers: neither model has running statistics; there is nothing to copy."
        raise InputError(msg)
    return pairs


def _problem(name: str, pair: _Pair) -> str | None:
    """What keeps one buffer from being copied, if anything."""
    if any(is_lazy(tensor) or tensor.is_meta for tensor in pair):
        return f"{name!r} holds no numbers yet"
    if pair.source.shape != pair.target.shape:
        return (
            f"{name!r} has shape {list(pair.source.shape)} in the source and "
            f"{list(pair.target.shape)} in the target"
        )
    if pair.source is pair.target or (
        pair.source.numel() and pair.source.data_ptr() == pair.target.data_ptr()
    ):
        return f"{name!r} is the same memory in both (make the target by copy.deepcopy)"
    if name.rpartition(".")[2] in _STATISTICS and not bool(pair.source.isfinite().all()):
        return f"{name!r} is not finite in the source: recalibrate it first"
    return None


def _refuse_what_does_not_fit(pairs: dict[str, _Pair]) -> None:
    """Half precision holds no number above 65,504, and no large counter.

    Raises:
        InputError: naming the buffer that changed by more than rounding.
    """
    for name, (source, target) in pairs.items():
        if source.is_floating_point() and not target.is_floating_point():
            msg = (
                f"copy_buffers: {name!r} is {source.dtype} in the source, and {target.dtype} here."
            )
            raise InputError(msg)
        if bool((source.isfinite() & ~target.isfinite().to(source.device)).any()):
            msg = f"copy_buffers: {name!r} is too large for the target's {target.dtype}."
            raise InputError(msg)


def _figures(pairs: dict[str, _Pair]) -> dict[str, float]:
    """How far the target's means are from the source's, at worst."""
    worst = 0.0
    for name, (source, target) in pairs.items():
        variance = pairs.get(name.removesuffix("running_mean") + "running_var")
        if not name.endswith("running_mean") or variance is None or not source.numel():
            continue
        deviation = (in_float64(variance.source) + 1e-5).sqrt()
        away = (in_float64(target).to(deviation.device) - in_float64(source)).abs() / deviation
        worst = max(worst, float(away.max()))
    return {"shift of a mean, in deviations": worst}
