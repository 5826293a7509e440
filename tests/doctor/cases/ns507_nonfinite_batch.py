"""One batch that is not finite, in a loop that skips its step as a gradient scaler does."""

import torch
from torch import Tensor, nn

from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.loops import plain, watched
from tests.doctor.networks import rows, small


def scaled(model: nn.Module, number: int) -> Tensor | None:
    """The batch of pass 2 overflows, so that no step follows."""
    if number != 2:
        return plain(model, number)
    model(torch.full((8, 4), torch.inf))
    return None


def bad_skipped_step() -> Diagnosis:
    diagnosis = watched(scaled)
    (finding,) = diagnosis.of("NS507")
    assert finding.evidence["pass"] == 2
    assert "No step followed" in finding.message
    assert finding.severity == "error"
    return diagnosis


def good_skipped_step() -> Diagnosis:
    return watched(lambda model, n: None if n == 2 else plain(model, n))


def silent_mended() -> Diagnosis:
    def mend(model: nn.Module) -> None:
        if not model[1].running_mean.isfinite().all():
            recalibrate(model, [rows()])

    return watched(scaled, model=small(), then=mend)
