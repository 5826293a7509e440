"""Statistics that are not shared. Two real processes: tests/doctor/test_watch_ranks.py."""

from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import small


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


def silent_one_device() -> Diagnosis:
    diagnosis = check(nn.DataParallel(small()))
    assert not diagnosis.of("NS504")
    return diagnosis
