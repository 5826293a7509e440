"""`fold`: batch normalization goes into the weights before it."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from normscope._errors import InputError, NormscopeError
from normscope.anatomy import batch_norm_layers, preserved, unwrapped
from normscope.records import Change, Left, Receipt
from normscope.surgery._folded_weights import OUTPUT_AXES, Folded, folded, scaled, with_weights
from normscope.surgery._linear_chain import LinearChain, children_in_a_row
from normscope.surgery._parity import notes_on, outputs_of, relative_difference
from normscope.surgery._refusals import refuse_no_model
from normscope.surgery._sites import Sites, find_sites


def fold(model: nn.Module, example: Any, *, tolerance: float = 1e-5) -> tuple[nn.Module, Receipt]:
    r"""A copy of `model` that computes the same in eval mode without its batch norms.

    In eval mode a batch norm is a fixed affine map per channel. Where it follows a linear map or a
    convolution, and nothing else uses what lies between, it goes into that one's weight and bias:

    .. math:: W' = g W, \quad b' = \beta + g (b - \mathrm{mean}), \quad
              g = \gamma / \sqrt{\mathrm{variance} + \epsilon}

    So does the scale of a `ScaledLinear`. Weights are computed in float64 and rounded once. What
    stays as it was, and why, stands in the receipt: folding is refused wherever it would be wrong.

    Then `model` and the folded copy see the example, and their outputs must agree: the largest
    difference between two elements, divided by the largest absolute element of that output, must
    not exceed `tolerance`. (Not element by element: a logit that happens to be near zero carries
    the rounding of the large numbers that it is the difference of.)

    `model` is not changed, whatever happens. The copy is of the same class, with an `Identity` for
    every batch norm and an `nn.Linear` for every `ScaledLinear`. Of a model that is wrapped
    (`torch.compile`, `DataParallel`, `AveragedModel`) it is a copy of what is inside. An `MLP`, or
    a plain `nn.Sequential`, that now consists of linear layers and ReLUs comes back as a
    `LinearChain`, which computes the same faster.

    Args:
        model: in eval mode; anything that `torch.fx` can trace.
        example: what the model is called with: a tensor, a tuple of arguments, or a dictionary of
            keyword arguments. Some rows of real data are best.
        tolerance: on the relative difference; half precision needs a larger one.

    Raises:
        InputError: if nothing can be folded (with the reasons), the model cannot be copied or
            traced, a part of it is compiled, the example is a NumPy array, or the model does not
            compute finite numbers from it.
        NormscopeError: if the folded copy computes something else.
        OwnModelError: if the model raises on the example.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        >>> folded, receipt = fold(model.eval(), torch.randn(8, 3))
        >>> folded
        LinearChain(
          (0): Linear(in_features=3, out_features=4, bias=True)
          (1): ReLU()
          (2): Linear(in_features=4, out_features=2, bias=True)
        )
        >>> receipt.changed[0].module, receipt.difference < receipt.tolerance
        ('0', True)
    """
    refuse_no_model("fold", model)
    _refuse_arrays(example)
    model = unwrapped(model)
    _refuse_compiled_parts(model)
    # Weights that were made in inference mode could never learn again.
    with preserved(model), torch.inference_mode(mode=False), torch.no_grad():
        result = _copied(model)
        with preserved(result):  # the random state too: what draws from it draws the same later
            axes: dict[nn.Module, int] = {}
            with _axes_recorded(result, axes):
                expected = outputs_of(result, example)
            sites = find_sites(result, children_in_a_row(result), axes)
        _refuse_nothing(model, sites)
        before = _figures(result)
        changes = _apply(result, sites)
        if chain := LinearChain.of(result):
            result = chain
        else:
            for path in sites.pairs:
                changes[path] += "; torch.nn.Identity is in its place"
        difference = _difference(expected, result, example)
        if not difference <= tolerance:
            raise NormscopeError(_disagreement(difference, tolerance))
        return result, Receipt(
            operation="fold",
            changed=tuple(Change(module=path, change=done) for path, done in changes.items()),
            left=tuple(Left(module=path, reason=why) for path, why in sites.left.items()),
            difference=difference,
            tolerance=float(tolerance),
            notes=notes_on(expected, tolerance),
            before=before,
            after=_figures(result),
        )


def _refuse_arrays(example: Any) -> None:
    """A model computes with tensors.

    Raises:
        InputError: if there is a NumPy array in the example.
    """
    if any(isinstance(leaf, np.ndarray) for leaf in pytree.tree_leaves(example)):
        msg = "fold: the example is a NumPy array; pass torch.from_numpy(images)."
        raise InputError(msg)


def _refuse_compiled_parts(model: nn.Module) -> None:
    """Nobody can follow what is compiled, nor change it.

    Raises:
        InputError: if a part of the model is.
    """
    for path, module in model.named_modules():
        if isinstance(getattr(module, "_orig_mod", None), nn.Module):
            msg = (
                f"fold: {path!r} is compiled by itself, and torch.fx cannot follow it. Fold the "
                "model before torch.compile, and compile the folded one."
            )
            raise InputError(msg)


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        InputError: if there can be none.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        msg = f"{type(model).__name__} cannot be copied ({error}); folding works on a copy."
        raise InputError(msg) from error


@contextmanager
def _axes_recorded(model: nn.Module, axes: dict[nn.Module, int]) -> Iterator[None]:
    """Note how many axes the output of every linear map has; `preserved` takes the hooks away."""

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        axes[module] = output.ndim

    handles = [m.register_forward_hook(note) for m in model.modules() if type(m) in OUTPUT_AXES]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_nothing(model: nn.Module, sites: Sites) -> None:
    """Folding that folds nothing is a mistake of somebody's.

    Raises:
        InputError: if the model has batch norms and none can be folded, or nothing at all can.
    """
    norms = batch_norm_layers(model)
    if sites.pairs or (sites.scales and not norms):
        return
    name = type(model).__name__
    reasons = [f"{path or name}: {why}" for path, why in sites.left.items()][:5]
    more = len(sites.left) - len(reasons)
    listed = "; ".join(reasons) + (f"; and {more} more" if more else "")
    msg = f"{name}: nothing can be folded. {listed or 'It has no batch norm'}."
    raise InputError(msg)


def _apply(model: nn.Module, sites: Sites) -> dict[str, str]:
    """Fold in place, and say what was done by module, in the model's order."""
    modules = dict(model.named_modules())
    new: dict[nn.Module, nn.Module] = {}
    changes: dict[str, str] = {}
    weights: dict[str, Folded] = {path: scaled(modules[path]) for path in sites.scales}
    changes |= dict.fromkeys(sites.scales, "its scale was multiplied into its weights")
    for path, source in sites.pairs.items():
        norm = modules[path]
        weights[source] = folded(modules[source], norm)
        new[norm] = nn.Identity().train(norm.training)
        changes[source] = f"took in {path!r}"
        changes[path] = f"went into {source!r}"
    for path, weight in weights.items():
        new[modules[path]] = with_weights(modules[path], weight)
    for parent in list(modules.values()):
        for name, child in parent._modules.items():  # noqa: SLF001 - each name, also of twins
            if child in new:
                setattr(parent, name, new[child])
    return {path: changes[path] for path in modules if path in changes}


def _difference(expected: list[Tensor], result: nn.Module, example: Any) -> float:
    """How far the outputs are from what they should be: see `fold`."""
    with preserved(result):
        found = outputs_of(result, example)
    if [t.shape for t in found] != [t.shape for t in expected]:
        return math.inf
    return max(map(relative_difference, found, expected))


def _figures(model: nn.Module) -> dict[str, float]:
    """What the receipt compares."""
    return {
        "batch norms": float(len(batch_norm_layers(model))),
        "parameters": float(sum(parameter.numel() for parameter in model.parameters())),
    }


def _disagreement(difference: float, tolerance: float) -> str:
    return (
        f"The folded model differs from the model by {difference:.1e} of the largest output on the "
        f"example, more than the tolerance of {tolerance:.1e}, and is not handed out. If that is "
        "rounding (half precision, statistics far from the example's), pass a larger tolerance."
    )
