"""Why running statistics do not describe what layers are given: the causes told apart."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from normscope.anatomy import RunningNorm, in_float64
from normscope.doctor._case import Case
from normscope.doctor._freshness import may_just_have_begun
from normscope.doctor._layer_fit import OFF, LayerFit, moments_by_call
from normscope.doctor._observation import Observation
from normscope.doctor._sights import Sight
from normscope.doctor._swaps import sights_in_training
from normscope.doctor._without_start import MUCH_OF_THE_START, WithoutStart
from normscope.records import Evidence
from normscope.stats import BatchSpread, Moments, merge_all

INPUT, STALE, ALONE = "input scaled differently", "stale", "one layer's statistics"
NEVER, AVERAGED = "never collected", "weights averaged without buffers"
UNKNOWN, MANY_SMALL = "unknown", "small deviations in many layers"
LAG = "statistics lag behind the weights"
DROPOUT, NOISE = "dropout before the norm", "noise in training before the norm"
NARROW = "batches of less variety in training"
_RECALIBRATE = "normscope.recalibrate(model, loader)"
_APART = 0.5
"""Means of one layer's calls that are further apart, in deviations, are of two distributions."""
_PADDING = 0.1
_FEW_ROWS = 8
_LARGE_MOMENTUM = 0.5
_OF_KERAS, _OF_PYTORCH = 0.9, 0.1
_OF_ONE_BATCH = 2.0
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Cause:
    """One reason.

    Attributes:
        name: in a few words.
        why: how it was told, in a sentence.
        fix: what to do.
        evidence: what was measured.
    """

    name: str
    why: str
    fix: str
    evidence: dict[str, Evidence] = field(default_factory=dict)


def cause_of(case: Case, fits: Sequence[LayerFit]) -> Cause:
    """The first cause whose marks are seen, the surest first."""
    off = [fit for fit in fits if fit.is_off]
    for look in _LOOKS:
        if (cause := look(case, fits, off)) is not None:
            return cause
    return _changed_since(case, fits, off)


Look = Callable[[Case, Sequence[LayerFit], Sequence[LayerFit]], Cause | None]


def _poisoned(case: Case, fits: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    del off
    for fit in fits:
        norm = case.norms[fit.path]
        stored = [t for t in (norm.mean, norm.variance) if t is not None]
        if not all(bool(t.isfinite().all()) for t in stored):
            return Cause(
                "poisoned by one non-finite batch",
                f"The statistics of {fit.path!r} are not finite, and what it is given is.",
                f"{_RECALIBRATE}; then find the batch with normscope.watch.",
            )
    return None


def _never_collected(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    initial = [fit.path for fit in off if case.norms[fit.path].has_initial_statistics]
    if not initial:
        return None
    norm = case.norms[initial[0]]
    stopped = norm.momentum == 0 or not getattr(norm.module, "track_running_stats", True)
    reason = (
        "its momentum is 0, so that nothing moves them" if norm.momentum == 0
        else "track_running_stats is False" if stopped
        else "they were never collected, or buffers were left behind when the weights were copied, "
        "averaged, saved or loaded"
    )  # fmt: skip
    return Cause(
        NEVER,
        f"{len(initial)} of {len(case.batch_norms)} batch norms, {initial[0]!r} first, have the "
        f"mean 0 and the variance 1 of a new layer: {reason}.",
        f"Copy them from the model that was trained (normscope.copy_buffers), or {_RECALIBRATE}.",
        {"layers with initial statistics": len(initial)},
    )


def _wrong_axis(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    seen = case.observation.eval_sights
    for fit in off:
        producer = case.model.get_submodule(seen.produced.get(fit.path, ""))
        shape = seen.of[fit.path][0].shape if fit.path in seen.of else ()
        if isinstance(producer, nn.Linear) and len(shape) > 2:
            return Cause(
                "wrong axis",
                f"{fit.path!r} is given {list(shape)} by a linear layer, whose features are in "
                "the last axis, and normalizes axis 1.",
                "Move the features to axis 1 (x.transpose(1, 2)) before the norm, and back.",
            )
    return None


def _several_distributions(
    case: Case, fits: Sequence[LayerFit], _: Sequence[LayerFit]
) -> Cause | None:
    for fit in fits:
        calls = moments_by_call(case.observation.batch_sights.of[fit.path])
        if len(calls) > 1 and (apart := _apart(calls)) > _APART:
            return Cause(
                "several distributions share one layer",
                f"{fit.path!r} is called {len(calls)} times in a pass, and the means of its calls "
                f"are {apart:.2g} deviations apart: one set of statistics describes neither.",
                "Give every call a batch norm of its own, or concatenate the inputs in training. "
                "Recalibration does not cure this.",
                {"distance of the calls, deviations": apart},
            )
    return None


def _apart(calls: Sequence[Moments]) -> float:
    """How far means are apart at most, in deviations, root mean square over channels."""
    width = torch.stack([call.population_variance for call in calls]).mean(dim=0).sqrt()
    means = torch.stack([call.mean for call in calls])
    spread = (means.amax(dim=0) - means.amin(dim=0)) / width.clamp(min=1e-12)
    return float(spread.square().mean().sqrt())


def _unlike_batches(case: Case, fits: Sequence[LayerFit], _: Sequence[LayerFit]) -> Cause | None:
    wander = _wander(case.observation)
    # Statistics that follow such batches are off by what these differ by, and by no more.
    if wander is None or (fits and not fits[0].shift <= 2 * wander):
        return None
    told = _classes_told(case.observation)
    return Cause(
        "class- or domain-pure batches",
        f"The batches are not alike: their means wander by {wander:.2g} deviations{told}, and in "
        "training each is normalized by its own statistics.",
        "Shuffle the training data and train again. Recalibration does not cure this: no running "
        "statistics can stand for each batch's own.",
        {"wander of batch means, deviations": wander},
    )


def _wander(observation: Observation) -> float | None:
    """By how much batches differ at the first batch norm, if by more than luck."""
    first = next(iter(observation.eval_sights.of), None)
    if first is None:
        return None
    rows = [s.row_moments for s in observation.eval_sights.of[first] if s.row_moments is not None]
    if len(rows) < 2 or sum(m.count for m in rows) <= len(rows):
        return None
    spread = BatchSpread.of(rows)
    return spread.typical_wander if spread.is_wandering else None


def _classes_told(observation: Observation) -> str:
    labels = [batch.classes for batch in observation.batches if batch.classes is not None]
    if len(labels) < len(observation.batches):
        return ""
    within = sum(len(label.unique()) for label in labels) / len(labels)
    return f" (of {len(torch.cat(labels).unique())} classes a batch has {within:.2g} on average)"


def _padding(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    for fit in off:
        sights = case.observation.eval_sights.of.get(fit.path, [])
        padded = [s for s in sights if s.padding is not None and s.moments is not None]
        if not padded:
            continue
        share = sum(s.padding.share for s in padded if s.padding) / len(sights)
        with_ = merge_all(s.moments for s in padded if s.moments)
        without = merge_all(s.padding.without for s in padded if s.padding)
        width = without.population_variance.sqrt().clamp(min=1e-12)
        effect = float(((with_.mean - without.mean) / width).square().mean().sqrt())
        if effect > _PADDING:
            return Cause(
                "padding",
                f"{100 * share:.0f} % of the positions that {fit.path!r} averages over are "
                f"padding, which moves its means by {effect:.2g} deviations.",
                "Keep padding out of the statistics (a mask), or normalize by row (LayerNorm).",
                {"share of padding": share, "effect of padding, deviations": effect},
            )
    return None


def _momentum(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    """As far off as one batch may be, and of a momentum that keeps one batch."""
    momenta = [case.norms[fit.path].momentum or 0.0 for fit in off]
    far = any(fit.shift > _OF_ONE_BATCH or fit.spread > _OF_ONE_BATCH for fit in off)
    if far or not momenta or min(momenta) < _LARGE_MOMENTUM:
        return None
    return Cause(
        "momentum convention",
        f"The momentum is {momenta[0]}, in PyTorch the weight of the new: the running statistics "
        "are those of the last batch, and as far off as one batch is.",
        f"normscope.set_momentum(model, {_meant(momenta[0]):.3g}), then {_RECALIBRATE}.",
        {"momentum": momenta[0]},
    )


def _meant(momentum: float) -> float:
    """Keras' 0.99 is 0.01 here; what is of neither convention becomes PyTorch's default."""
    return 1 - momentum if _OF_KERAS <= momentum < 1 else _OF_PYTORCH


def _slow(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    """Much of the initial mean 0 and variance 1 is left in the statistics, and makes them wrong."""
    left = {fit.path: case.norms[fit.path].initial_share for fit in off}
    if not left or min(left.values()) < MUCH_OF_THE_START:
        return None
    path = off[0].path
    norm = case.norms[path]
    without = WithoutStart.of(norm, case.observation.batch_sights.of[path])
    if without is None or not without.share < 0.5:  # most
        return None
    return Cause(
        "slow statistics",
        f"With momentum {norm.momentum}, {100 * left[path]:.0f} % of the initial mean 0 and "
        f"variance 1 are left in {path!r} after {norm.batches_tracked} batches.",
        f"{_RECALIBRATE} before every evaluation, or a larger momentum.",
        {"share of the initial statistics": left[path]},
    )


def _stands_out(fits: Sequence[LayerFit], off: Sequence[LayerFit], times: float = 2) -> bool:
    """Whether one layer is off, and by more than so many times as much as any other."""
    if len(off) != 1 or len(fits) < 2:
        return False
    others = max(fit.misfit for fit in fits if fit is not off[0])
    return not off[0].misfit <= times * others


def _lag(case: Case, fits: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    """Early in a training all layers are somewhat off, and one may be off by enough to be told."""
    if len(off) != 1 or _stands_out(fits, off, 5) or off[0].misfit >= 2 * OFF:
        return None
    if not may_just_have_begun(case, [fit.path for fit in fits]):
        return None
    return Cause(
        LAG,
        f"{off[0].path!r} is off most, and the others are off as well, by less. Early in a "
        "training the weights move faster than running statistics follow.",
        f"Train on, or {_RECALIBRATE} before the model is used.",
        {"largest shift, deviations": off[0].shift, "largest spread, logarithm": off[0].spread},
    )


def _narrow(case: Case, fits: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    """Of batches of one class each, what classes differ by is in no variance, and in all means."""
    if not off or off[0] is not fits[0] or off[0].shift >= min(OFF, off[0].spread / 2):
        return None
    first = off[0]
    factors = _log_factors(case.norms[first.path], case.observation.batch_sights.of[first.path])
    narrow = factors is not None and float((factors < 0).double().mean()) >= _NEARLY_ALL
    if not narrow or abs(math.log(first.scale)) >= OFF:  # NaN, as a rule: no factor of them all
        return None
    factor = math.exp(first.spread)
    return Cause(
        NARROW,
        f"The running means of the first batch norm, {first.path!r}, fit, and in nearly all "
        f"channels its running variance is too small (deviations by a factor of {factor:.3g}). So "
        "it is where batches of the training are of one class or domain each: what classes differ "
        "by is then in no batch's variance. Or these data vary more.",
        "Look at how batches of the training are made, and shuffle them. For these batches, if "
        f"they are what the model is for: {_RECALIBRATE}.",
        {"factor of the deviations": factor, "shift, deviations": first.shift},
    )


def _other_input(case: Case, fits: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    """Only the first layer sees the scale of the inputs; it normalizes it away for the others."""
    if not off or off[0] is not fits[0] or 2 * len(off) > len(fits) + 1:
        return None
    first = fits[0]
    scaled = not math.isnan(first.scale) and abs(math.log(first.scale)) >= OFF
    alone = _stands_out(fits, off) and not isinstance(case.wrapper, AveragedModel)
    if not scaled and not alone:
        return None
    only = f"Of {len(fits)} batch norms only the first, {first.path!r}, is off"
    if len(off) > 1 or len(fits) < 2:
        only = f"The first batch norm, {first.path!r}, is off"
    fix = "Scale the inputs as they were in training. Recalibrating would hide the mistake."
    if scaled:
        why = f"{only}: in all channels alike, its input is {first.scale:.3g} times as wide."
        return Cause(INPUT, why, fix, {"scale": first.scale})
    why = (
        f"{only}: its input is another than in training, by {first.shift:.2g} deviations and a "
        f"factor of {math.exp(min(first.spread, 700)):.3g}. (Or its statistics were changed alone.)"
    )
    return Cause(INPUT, why, fix, {"shift": first.shift, "spread": first.spread})


def _dropout(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    """With dropout on, layers that were off fit."""
    dropouts = [
        module
        for module in case.model.modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0  # noqa: SLF001
    ]
    found = _fits_in_training(case, off, dropouts)
    if found is None:
        return None
    path, with_, without = found
    return Cause(
        DROPOUT,
        f"With dropout on, the running deviations of {path!r} are off by a factor of {with_:.3g}, "
        f"with dropout off by {without:.3g} (median over channels): in eval its input varies less "
        "than in training.",
        "Put dropout behind the batch norms (best behind the last); until then "
        f"{_RECALIBRATE} sets the statistics for eval.",
        {"factor with dropout": with_, "factor without": without},
    )


def _noise(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    """With modules of other people's that only compute as in training: stochastic depth, often."""
    others = [module for module in case.model.modules() if _only_computes(module)]
    found = _fits_in_training(case, off, others)
    if found is None:
        return None
    path, with_, without = found
    classes = sorted({type(module).__name__ for module in others})
    return Cause(
        NOISE,
        f"With {', '.join(classes)} in training mode, the running deviations of {path!r} are off "
        f"by a factor of {with_:.3g}, in eval mode by {without:.3g} (median over channels): what "
        "is random in training, such as stochastic depth, makes its input vary otherwise.",
        f"{_RECALIBRATE} sets the statistics for eval mode.",
        {"factor in training": with_, "factor in eval mode": without},
    )


def _only_computes(module: nn.Module) -> bool:
    """Whether it is nobody's parent, holds no tensors, and is not of torch."""
    holds = any(True for _ in module.parameters()) or any(True for _ in module.buffers())
    of_torch = type(module).__module__.startswith("torch.nn.")
    return not (holds or of_torch or any(True for _ in module.children()))


def _fits_in_training(
    case: Case, off: Sequence[LayerFit], modules: Sequence[nn.Module]
) -> tuple[str, float, float] | None:
    """The first layer that fits with these in training mode, and does not without.

    Its path, and the typical factor by which its running deviations are off, with and without.
    """
    seen = sights_in_training(case.observation, modules) if off else None
    if seen is None:
        return None
    for fit in off:
        norm = case.norms[fit.path]
        without = _typical_factor(norm, case.observation.batch_sights.of[fit.path])
        with_ = _typical_factor(norm, seen.of.get(fit.path, []))
        if with_ < without / 2:
            return fit.path, math.exp(with_), math.exp(without)
    return None


def _typical_factor(norm: RunningNorm, sights: Sequence[Sight]) -> float:
    """The logarithm of the factor by which running deviations are off: the median's over channels.

    Not the root mean square: to a channel that is dead without dropout that gives all the weight.
    """
    factors = _log_factors(norm, sights)
    return math.inf if factors is None else float(factors.abs().median())


def _log_factors(norm: RunningNorm, sights: Sequence[Sight]) -> Tensor | None:
    """By channel the logarithm of the running deviation over that of what the layer is given."""
    seen = [sight.moments for sight in sights if sight.moments is not None]
    if not seen or norm.variance is None:
        return None
    found = merge_all(seen).population_variance + norm.eps
    return ((in_float64(norm.variance) + norm.eps) / found).log() / 2


def _small_batches(case: Case, _: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause | None:
    seen = case.observation
    rows = seen.rows / max(len(seen.batches), 1)
    if off or rows > _FEW_ROWS:
        return None
    return Cause(
        "few rows in a batch",
        f"The running statistics fit. But of {rows:.2g} rows a mean is off by "
        f"{1 / math.sqrt(max(rows, 1)):.2g} deviations, and the layers behind have learned that.",
        "Larger batches, or a norm that does not depend on them (GroupNorm).",
        {"rows in a batch": rows},
    )


def many_small(fits: Sequence[LayerFit]) -> Cause:
    """Where no layer is off by enough to be told, and exact statistics close the gap."""
    most = max(fits, key=lambda fit: fit.misfit)
    return Cause(
        MANY_SMALL,
        f"No layer is off by much, {most.path!r} most: {most.told()}. Together they cost the gap, "
        "as they do early in a training, or where it is noisier than eval mode (dropout, "
        "stochastic depth).",
        f"{_RECALIBRATE} before the model is used.",
        {"largest shift, deviations": most.shift, "largest spread, logarithm": most.spread},
    )


def _changed_since(case: Case, fits: Sequence[LayerFit], off: Sequence[LayerFit]) -> Cause:
    if not off and (calls := case.observation.functional_calls):
        what = calls[0].module or "a batch norm"
        return Cause(
            "a batch norm outside the module tree",
            f"Every registered batch norm fits; {what} is called in {calls[0].line or 'a forward'} "
            "and is not registered, so that neither eval() nor a repair reaches it.",
            "Register it: an attribute of its own, or torch.nn.ModuleList (rule NS204).",
            {"calls": len(calls)},
        )
    if not off:
        return Cause(
            UNKNOWN,
            "Each layer's running statistics describe its input within the noise of such batches.",
            "Look at the layers that are not batch norms, and whether these batches are made as "
            "those of the training were.",
        )
    if isinstance(case.wrapper, AveragedModel):
        return Cause(
            AVERAGED,
            "The weights are an average; the statistics are those of one model.",
            f"{_RECALIBRATE}, or AveragedModel(use_buffers=True).",
        )
    if _stands_out(fits, off):
        return Cause(
            ALONE,
            f"Of {len(fits)} batch norms only {off[0].path!r} is off: its statistics, or the "
            "weights before it, were changed alone.",
            _RECALIBRATE,
        )
    return Cause(
        STALE,
        f"{len(off)} of {len(fits)} batch norms are off: the weights have changed since the "
        "statistics were collected (fine-tuned with frozen statistics, averaged, pruned, "
        "quantized), or the data have.",
        f"If the weights have changed: {_RECALIBRATE}. If the data have, this is a domain shift.",
    )


_LOOKS: tuple[Look, ...] = (
    _poisoned,
    _never_collected,
    _wrong_axis,
    _several_distributions,
    _unlike_batches,
    _padding,
    _momentum,
    _slow,
    _lag,
    _narrow,
    _other_input,
    _dropout,
    _noise,
    _small_batches,
)
