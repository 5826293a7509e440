"""`remove_bias_before_norm`: a bias that a batch norm takes out again goes into its mean."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from normscope._errors import InputError, NormscopeError
from normscope.anatomy import (
    CallGraph,
    all_or_nothing,
    batch_norm_layers,
    freeze_of,
    in_float64,
    plainly,
    preserved,
    unwrapped,
)  # fmt: skip
from normscope.records import Change, Left, Receipt
from normscope.surgery._folded_weights import FOLDABLE_NORMS, OUTPUT_AXES
from normscope.surgery._parity import notes_on, outputs_of, relative_difference
from normscope.surgery._refusals import refuse_no_model

_NOTES = (
    (
        "This cures the cause: the parameters that could not learn are gone, and the outputs in "
        "eval mode are the same."
    ),
    "Build the optimizer anew: the one that there is still holds the biases that are gone.",
    (
        "State dicts from before have these biases, and running means with them: load them before, "
        "and save anew."
    ),
)


def remove_bias_before_norm(model: nn.Module, example: Any, *, tolerance: float = 1e-5) -> Receipt:
    r"""Remove the bias of every linear map whose only user is a batch norm, in place.

    In training the batch norm subtracts the batch's mean, and the bias with it: it has no effect,
    and its gradient is rounding. In eval mode it has one, since the running mean contains it:

    .. math:: (W x + b) - \mathrm{mean} = W x - (\mathrm{mean} - b)

    So b is subtracted from the running mean, and outputs in eval mode stay what they are. That is
    measured: the largest difference on the example, relative to the largest absolute output, must
    not exceed `tolerance`. What stays as it was, and why, stands in the receipt.

    All or nothing: if anything raises, `model` is as it was.

    Args:
        model: anything that `torch.fx` can trace; in any mode. Best before it is wrapped.
        example: what the model is called with: a tensor, a tuple of arguments, or a dictionary of
            keyword arguments. Some rows of real data are best.
        tolerance: on the relative difference; half precision needs a larger one.

    Raises:
        InputError: if there is no such bias (with the reasons), the model cannot be traced or is
            wrapped in DistributedDataParallel, or it does not compute finite numbers.
        NormscopeError: if outputs in eval mode would change by more than the tolerance.
        OwnModelError: if the model raises on the example.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        >>> receipt = remove_bias_before_norm(model, torch.randn(8, 3))
        >>> model[0].bias, receipt.changed[0].module, receipt.difference < 1e-5
        (None, '0', True)
    """
    if isinstance(model, DistributedDataParallel):
        msg = (
            "remove_bias_before_norm: do it before DistributedDataParallel, which holds the biases."
        )
        raise InputError(msg)
    model = unwrapped(model)
    # Tensors that were made in inference mode could never be trained again.
    refuse_no_model("remove_bias_before_norm", model)
    with torch.inference_mode(mode=False), torch.no_grad(), all_or_nothing(model):
        with preserved(model), plainly(model):
            axes = _axes(model, example)
        sites, left = _sites(model, axes)
        expected = _eval_outputs(model, example)
        before = _figures(model)
        for site in sites:
            site.apply()
        found = _eval_outputs(model, example)
        difference = max(map(relative_difference, found, expected))
        if not difference <= tolerance:
            raise NormscopeError(_disagreement(difference, tolerance))
        return Receipt(
            operation="remove_bias_before_norm",
            changed=tuple(Change(module=site.path, change=site.told()) for site in sites),
            left=tuple(Left(module=path, reason=why) for path, why in left.items()),
            difference=difference,
            tolerance=float(tolerance),
            notes=_NOTES + notes_on(expected, tolerance),
            before=before,
            after=_figures(model),
        )


@dataclass(frozen=True)
class _Site:
    """A linear map with a bias, and the batch norm behind it."""

    path: str
    linear: nn.Module
    norm_path: str
    norm: _BatchNorm

    def apply(self) -> None:
        """Move the bias, in float64 with one rounding."""
        bias = self.linear.bias
        assert isinstance(bias, Tensor)
        if (mean := self.norm.running_mean) is not None:
            mean.copy_(in_float64(mean) - in_float64(bias.detach()))
        self.linear.register_parameter("bias", None)

    def told(self) -> str:
        """What was done."""
        if self.norm.running_mean is None:
            return f"its bias, which {self.norm_path!r} takes out in every mode, was removed"
        return f"its bias was removed, and subtracted from the running mean of {self.norm_path!r}"


def _axes(model: nn.Module, example: Any) -> dict[nn.Module, int]:
    """How many axes the output of every linear map has, in eval mode."""
    axes: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        axes[module] = output.ndim

    for module in model.eval().modules():
        if type(module) in OUTPUT_AXES:
            module.register_forward_hook(note)  # `preserved` takes it away
    outputs_of(model, example)
    return axes


def _eval_outputs(model: nn.Module, example: Any) -> list[Tensor]:
    with preserved(model), plainly(model):
        return outputs_of(model.eval(), example)


def _sites(model: nn.Module, axes: Mapping[nn.Module, int]) -> tuple[list[_Site], dict[str, str]]:
    """Where a bias can go, and the batch norms before which one stays, with the reason.

    Raises:
        InputError: if there is no site.
    """
    graphs = [_graph(model, training=mode) for mode in (False, True)]
    owners = Counter(id(t) for _, t in _tensors(model))
    sites, left = [], {}
    for path, norm in batch_norm_layers(model).items():
        linear = graphs[0].producer(norm)
        if linear is None or getattr(linear, "bias", None) is None:
            continue
        reasons = [_objections(graph, model, norm, linear, axes, owners) for graph in graphs]
        reason = next((why for each in reasons for why in each), None)
        if reason is None:
            sites.append(_Site(graphs[0].paths[linear], linear, path, norm))
        else:
            left[graphs[0].paths[linear]] = reason
    if not sites:
        reasons_told = "; ".join(f"{path!r}: {why}" for path, why in left.items())
        msg = (
            f"remove_bias_before_norm: in {type(model).__name__} no bias can be removed. "
            f"{reasons_told or 'No linear map with a bias has a batch norm directly behind it'}."
        )
        raise InputError(msg)
    return sites, left


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer, of every module that holds it."""
    for path, module in model.named_modules():
        own = [*module._parameters.items(), *module._buffers.items()]  # noqa: SLF001
        yield from ((f"{path}.{name}", t) for name, t in own if t is not None)


def _graph(model: nn.Module, *, training: bool) -> CallGraph:
    """What is called where, in one mode: training may use what eval does not."""
    with preserved(model):
        return CallGraph.of(model.train(training), leaves=tuple(OUTPUT_AXES))


def _objections(
    graph: CallGraph,
    model: nn.Module,
    norm: _BatchNorm,
    linear: nn.Module,
    axes: Mapping[nn.Module, int],
    owners: Mapping[int, int],
) -> Iterator[str]:
    """Why the bias of `linear` has to stay, if so."""
    name, kind = type(norm).__name__, type(linear)
    if kind not in OUTPUT_AXES or not isinstance(linear.bias, nn.Parameter):
        yield f"{kind.__name__} is a class of its own, which may compute something else"
        return
    if type(norm) not in FOLDABLE_NORMS:
        yield f"the {name} behind it is a class of its own, which may compute something else"
    if freeze_of(norm) is not None or (model.training and not norm.training):
        yield f"the {name} behind it is frozen, so that the bias has an effect, and learns"
    if not _is_finite(linear.bias) or not _is_finite(norm.running_mean):
        yield "its bias, or the running mean behind it, is not finite"
    if owners[id(linear.bias)] > 1 or owners.get(id(norm.running_mean), 1) > 1:
        yield "its bias, or the running mean behind it, is another module's as well"
    if linear.bias._backward_hooks or linear.bias._post_accumulate_grad_hooks:  # noqa: SLF001
        yield "its bias has hooks"
    if reason := graph.objection_to(norm):
        yield f"of the {name} behind it: {reason}"
    if reason := graph.objection_to(linear):
        yield reason
    source = graph.source(norm)
    if source is None or graph.producer(norm) is not linear:
        yield "what is behind it in eval mode is not behind it in training"
    elif len(source.users) > 1:
        yield "its output is used elsewhere as well"
    if (reached := axes.get(linear)) != OUTPUT_AXES[kind]:
        yield (
            f"its output has {reached} axes; axis 1, by which {name} normalizes, is its channels "
            f"only if there are {OUTPUT_AXES[kind]}"
        )


def _is_finite(tensor: Tensor | None) -> bool:
    return tensor is None or bool(tensor.isfinite().all())


def _figures(model: nn.Module) -> dict[str, float]:
    return {"parameters": float(sum(parameter.numel() for parameter in model.parameters()))}


def _disagreement(difference: float, tolerance: float) -> str:
    return (
        f"Without the biases the model's eval outputs would differ by {difference:.1e} of the "
        f"largest on the example, more than the tolerance of {tolerance:.1e}; it is as it was. If "
        "that is rounding (half precision, biases far larger than what they are added to), pass a "
        "larger tolerance."
    )
