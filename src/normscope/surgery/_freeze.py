"""`freeze`: batch norms that stay in eval mode through every later `model.train()`."""

from collections.abc import Iterable

from torch import nn

from normscope._errors import InputError
from normscope.anatomy import (
    RunningNorm,
    StaysInEval,
    all_or_nothing,
    freeze_of,
    plain_path,
    running_norms,
    unwrapped,
)
from normscope.records import Change, Left, Receipt
from normscope.surgery._choice import chosen

_CURE = (
    "This cures the cause where statistics moved that should not: model.train() no longer reaches "
    "these layers, nor does train() called on one of them; normscope.unfreeze(model) ends it. "
    "Statistics are as they were before."
)


def freeze(
    model: nn.Module, modules: str | Iterable[str] | None = None, *, parameters: bool = False
) -> Receipt:
    """Put batch norms into eval mode, in place, where later calls of `train()` leave them.

    They normalize by their running statistics and no longer move them. (``requires_grad=False``
    does neither, and `eval()` is undone by the next ``model.train()``.) Gamma and beta go on
    learning unless `parameters` is true.

    The layer's own `train` is stood in for; its class, its hooks and the names in the state dict
    stay, so that it is exported, folded and loaded as before. A frozen layer is frozen in deep
    copies, in pickles and in ``torch.save(model)``, whose readers need Normscope, but not in a
    state dict: freeze the model that loads one anew. Whoever assigns ``layer.training = True``
    gets it. Convert to `SyncBatchNorm` before, which builds new layers.

    Args:
        model: any; also wrapped or compiled.
        modules: which: paths of batch norms or of modules around them, or patterns such as
            ``"backbone.*"``; all by default.
        parameters: whether gamma and beta stop learning as well.

    Returns:
        What was frozen, and what was left and why.

    Raises:
        InputError: if the model has nothing that could be frozen, or a name matches nothing.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        >>> receipt = freeze(model)
        >>> [module.training for module in model.train()]
        [True, False]
    """
    norms = {
        p: norm for p, norm in running_norms(model).items() if hasattr(norm.module, "momentum")
    }
    wanted = {plain_path(model, path): norms[path] for path in chosen(model, norms, modules)}
    left = {path: why for path, norm in wanted.items() if (why := _objection(norm))}
    targets = {path: norm for path, norm in wanted.items() if path not in left}
    if not targets:
        reasons = "; ".join(f"{path or 'the model'}: {why}" for path, why in left.items())
        msg = f"freeze: {type(model).__name__} has nothing to freeze. {reasons or 'No batch norm'}."
        raise InputError(msg)
    before = _figures(wanted)
    with all_or_nothing(model):
        changes = {
            path: done
            for path, norm in targets.items()
            if (done := _freeze(norm.module, parameters=parameters))
        }
        left |= dict.fromkeys(targets.keys() - changes.keys(), "it was frozen before")
        return Receipt(
            operation="freeze",
            changed=tuple(Change(module=path, change=done) for path, done in changes.items()),
            left=tuple(Left(module=path, reason=left[path]) for path in wanted if path in left),
            notes=(_CURE, *_notes(targets)),
            before=before,
            after=_figures(wanted),
        )


def unfreeze(model: nn.Module, modules: str | Iterable[str] | None = None) -> Receipt:
    """Undo `freeze`, in place: the layers follow `train()` again, and are in the model's mode.

    Gamma and beta learn again where it was `freeze` that stopped them.

    Args:
        model: any.
        modules: which, as in `freeze`; by default all that are frozen.

    Returns:
        What was unfrozen.

    Raises:
        InputError: if a name matches nothing that is frozen, or there is nothing.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        >>> _ = freeze(model), unfreeze(model)
        >>> model[1].training
        True
    """
    frozen = {path: norm for path, norm in running_norms(model).items() if freeze_of(norm.module)}
    wanted = {plain_path(model, path): frozen[path] for path in chosen(model, frozen, modules)}
    if not wanted:
        msg = f"unfreeze: in {type(model).__name__} nothing is frozen by normscope.freeze."
        raise InputError(msg)
    before, training = _figures(wanted), unwrapped(model).training
    with all_or_nothing(model):
        for norm in wanted.values():
            _unfreeze(norm.module, training=training)
        mode = "training" if training else "eval"
        return Receipt(
            operation="unfreeze",
            changed=tuple(
                Change(module=path, change=f"it follows train() again, and is in {mode} mode")
                for path in wanted
            ),
            before=before,
            after=_figures(wanted),
        )


def _objection(norm: RunningNorm) -> str | None:
    """Why eval mode would not freeze a layer, if so."""
    if norm.mean is not None and norm.variance is not None:
        return None
    if any(True for _ in norm.module.buffers()):
        return "it holds no numbers yet: let a batch through, or load its state, first"
    return "it has no running statistics: in eval mode, too, it normalizes by the batch"


def _freeze(module: nn.Module, *, parameters: bool) -> str:
    """Do it, and say what was done; empty if there was nothing to do."""
    done = []
    held = freeze_of(module)
    learned = () if held is None else held.learned
    if held is None:
        done.append("it stays in eval mode")
    if getattr(module, "track_running_stats", None) is False:
        vars(module)["track_running_stats"] = True
        done.append("track_running_stats is True again, as its buffers are")
    if parameters:
        own = dict(module.named_parameters(recurse=False))
        learning = tuple(name for name, parameter in own.items() if parameter.requires_grad)
        for name in learning:
            own[name].requires_grad = False
        learned += learning
        if learning:
            done.append(" and ".join(learning) + " no longer learn" + "s" * (len(learning) == 1))
    if done:
        vars(module)["train"] = StaysInEval(module, learned)
        module.eval()
    return "; ".join(done)


def _unfreeze(module: nn.Module, *, training: bool) -> None:
    held = freeze_of(module)
    assert held is not None
    own = dict(module.named_parameters(recurse=False))
    for name in held.learned:
        if name in own:
            own[name].requires_grad = True
    del vars(module)["train"]
    module.train(training)


def _notes(targets: dict[str, RunningNorm]) -> tuple[str, ...]:
    """What of this may surprise."""
    fresh = [path for path, norm in targets.items() if norm.batches_tracked == 0 and _default(norm)]
    if not fresh:
        return ()
    note = (
        f"{len(fresh)} of {len(targets)} have never collected statistics (mean 0, variance 1), the "
        f"first of them {fresh[0] or 'the model itself'!r}: load or recalibrate them first."
    )
    return (note,)


def _default(norm: RunningNorm) -> bool:
    mean, variance = norm.mean, norm.variance
    assert mean is not None
    assert variance is not None
    return bool((mean == 0).all()) and bool((variance == 1).all())


def _figures(norms: dict[str, RunningNorm]) -> dict[str, float]:
    return {
        "layers that move their statistics": float(
            sum(norm.moves_statistics for norm in norms.values())
        ),
        "frozen layers": float(sum(freeze_of(norm.module) is not None for norm in norms.values())),
    }
