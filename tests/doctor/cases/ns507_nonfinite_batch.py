"""One batch that is not finite, in a loop that skips its step as a gradient scaler does."""

import torch
from torch import Tensor, nn

from normscope.doctor import check
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


def of_data(*, bad: int) -> Diagnosis:
    """Batches of which some have a row that is not a number."""
    batches = [rows(seed=n) for n in range(4)]
    for batch in batches[1 : 1 + bad]:
        batch[0, 0] = torch.nan
    return check(small(), batches)


def bad_data() -> Diagnosis:
    diagnosis = of_data(bad=2)
    (finding,) = diagnosis.of("NS507")
    assert (finding.severity, finding.evidence["first bad batch"]) == ("error", 1)
    assert finding.evidence["bad batches"] == 2
    return diagnosis


def good_data() -> Diagnosis:
    return of_data(bad=0)


def silent_mended() -> Diagnosis:
    def mend(model: nn.Module) -> None:
        if not model[1].running_mean.isfinite().all():
            recalibrate(model, [rows()])

    return watched(scaled, model=small(), then=mend)
