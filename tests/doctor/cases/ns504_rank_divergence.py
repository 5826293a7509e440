"""Statistics that are not shared. Two real processes: tests/doctor/test_watch_ranks.py."""

from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows, small


def bad_data_parallel() -> Diagnosis:
    wrapped = nn.DataParallel(small())
    wrapped.device_ids = [0, 1]  # as on a machine with two
    return check(wrapped)


def good_data_parallel() -> Diagnosis:
    return check(small())


def half_converted() -> nn.Sequential:
    return nn.Sequential(small(), nn.SyncBatchNorm(3))


def bad_half_converted() -> Diagnosis:
    return check(half_converted())


def good_half_converted() -> Diagnosis:
    return check(nn.SyncBatchNorm.convert_sync_batchnorm(half_converted()))


class Branched(nn.Module):
    """A second stage for the batches that the first is not sure of."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.first, self.second = small(), nn.SyncBatchNorm(3)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        sure = bool(x[0, 0] > 0)
        if self.always:
            return y + self.second(y) * (not sure)
        return y if sure else y + self.second(y)


def branched(*, always: bool) -> Diagnosis:
    """All of its batch norms synchronized, as convert_sync_batchnorm leaves them."""
    model = nn.SyncBatchNorm.convert_sync_batchnorm(Branched(always=always))
    return check(model, [rows(seed=number) for number in range(6)])


def bad_branch() -> Diagnosis:
    diagnosis = branched(always=False)
    (finding,) = diagnosis.of("NS504")
    assert (finding.severity, finding.module) == ("warning", "second")
    assert (finding.evidence["fewest calls"], finding.evidence["most calls"]) == (0, 1)
    return diagnosis


def good_branch() -> Diagnosis:
    return branched(always=True)


def silent_a_branch_that_waits_for_nobody() -> Diagnosis:
    model = Branched(always=False)
    model.second = nn.BatchNorm1d(3)
    diagnosis = check(model, [rows(seed=number) for number in range(6)])
    assert not diagnosis.of("NS504")
    return diagnosis


def silent_one_device() -> Diagnosis:
    diagnosis = check(nn.DataParallel(small()))
    assert not diagnosis.of("NS504")
    return diagnosis
