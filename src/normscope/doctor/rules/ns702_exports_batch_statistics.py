"""A batch norm that normalizes by the batch after export, or would.

## What it finds

In a program (`torch.export.load(path).module()`, a TorchScript module) the batch norms that were
exported in training mode. In a model those that use the batch's own statistics in eval mode too,
because they have none stored, and those left in training mode while the model is in eval mode.

## Why it matters

A program has no modes: what was training at export stays so. Answers then depend on the batch, one
row at a time they are constant or fail, and every call moves the statistics. ONNX exports of such
layers are refused, or differ between runtimes.

## Example

    >>> import torch
    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    >>> program = torch.export.export(model, (torch.randn(4, 2, 5),))
    >>> finding = check(program.module()).of("NS702")[0]
    >>> finding.severity, finding.evidence["batch norms"]
    ('error', 1)

## Fix

Call `model.eval()` before the export. A program for quantization-aware training is moved by
`torchao.quantization.pt2e.move_exported_model_to_eval`. Where there are no stored statistics, build
the layer with `track_running_stats=True` and `normscope.recalibrate(model, loader)`.

## On purpose

A program that is about to be trained is in training mode; so is a batch norm without stored
statistics sometimes (an info).

## Symptoms

- exported model gives different results
- operator batch_norm is set to train=True
- onnx model output differs from pytorch
- quantized model has chance accuracy
- Calling eval() is not supported yet

## References

- pytorch/pytorch#115715; pytorch/executorch#21056: quantization-aware training
- microsoft/onnxruntime#3873, #26584; open-edge-platform/anomalib#2909; pytorch/pytorch#75252
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from normscope.doctor._batch_mates import dependence_on_batch_mates
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._exported import ProgramNorm, program_norms
from normscope.doctor._rules import Found
from normscope.doctor._ways import listed

if TYPE_CHECKING:
    from normscope.records import Evidence

_MOVED = "change by other rows in the batch, in deviations"


def find(case: Case) -> Iterator[Found]:
    """Yield at most one finding for a program, or for a model."""
    norms = None if case.program is None else program_norms(case.program)
    if norms is not None:
        by_batch = [norm for norm in norms if norm.always_by_batch]
        if by_batch:
            yield _program(case, by_batch, len(norms))
        return
    without = [
        path
        for path, norm in case.batch_norms.items()
        if getattr(norm.module, "running_mean", None) is None
    ]
    if without:
        yield _model(without, "keep no running statistics and normalize by the batch in eval too")
    left = [path for path in case.batch_norms if case.training[path] and path not in without]
    if left and not case.training[""]:
        yield _model(left, "are in training mode while the model is in eval mode")


def _program(case: Case, by_batch: list[ProgramNorm], norms: int) -> Found:
    evidence: "dict[str, Evidence]" = {"batch norms": len(by_batch), "of": norms}
    cost = ""
    if case.has_data:
        with suppress(UnknownError):
            moved = evidence[_MOVED] = dependence_on_batch_mates(case)
            cost = f" Answers move by {moved:.2g} of their deviation with other rows beside them."
    return Found(
        severity="error",
        module=by_batch[0].name,
        message=(
            f"{len(by_batch)} of {norms} batch norms in this program normalize by the batch, "
            f"whatever its mode ({listed([norm.name for norm in by_batch])}): it was exported in "
            f"training mode.{cost}"
        ),
        fix="Export it again after model.eval().",
        evidence=evidence,
    )


def _model(paths: list[str], what: str) -> Found:
    return Found(
        severity="info",
        module=paths[0],
        message=f"{listed(paths)}: {len(paths)} batch norms {what}; an export keeps that.",
        fix="Call model.eval() before an export; give each stored statistics.",
        evidence={"batch norms": len(paths)},
    )
