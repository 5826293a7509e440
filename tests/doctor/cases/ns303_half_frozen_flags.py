"""Freezing by a flag, buffers that are gone, and what is so by design."""

import pytest
import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows, small


def severity(diagnosis: Diagnosis) -> str:
    (finding,) = diagnosis.of("NS303")
    return finding.severity


def flagged(*, tracks: bool, training: bool = True) -> nn.Module:
    model = small()
    model(rows())
    model[1].track_running_stats = tracks
    return model.train(training)


def bad_frozen_by_flag() -> Diagnosis:
    diagnosis = check(flagged(tracks=False))
    assert severity(diagnosis) == "warning"
    assert severity(check(flagged(tracks=False), [rows()])) == "warning"
    return diagnosis


def good_frozen_by_flag() -> Diagnosis:
    model = flagged(tracks=True)
    model[1].eval().requires_grad_(requires_grad=False)
    return check(model)


def bad_one_buffer_of_two() -> Diagnosis:
    model = small()
    model[1].running_var = None
    with pytest.raises(RuntimeError):
        model.eval()(rows())
    diagnosis = check(model)
    assert severity(diagnosis) == "error"
    return diagnosis


def good_one_buffer_of_two() -> Diagnosis:
    model = small()
    model[1].reset_running_stats()
    return check(model)


def bad_instance_norm_without_buffers() -> Diagnosis:
    model = nn.Sequential(nn.InstanceNorm1d(4, track_running_stats=True))
    model[0].running_mean = model[0].running_var = None
    with pytest.raises(RuntimeError):
        model.eval()(rows()[:, :, None].expand(-1, -1, 3))
    diagnosis = check(model)
    assert severity(diagnosis) == "error"
    return diagnosis


def good_instance_norm_without_buffers() -> Diagnosis:
    return check(nn.Sequential(nn.InstanceNorm1d(4, track_running_stats=True)))


def bad_evaluates_by_batch() -> Diagnosis:
    """As torch.func.replace_all_batch_norm_modules_ leaves a model."""
    model = small().eval()
    torch.func.replace_all_batch_norm_modules_(model)
    assert not torch.equal(model(rows())[:8], model(rows()[:8]))
    diagnosis = check(model)
    assert severity(diagnosis) == "info"
    return diagnosis


def good_evaluates_by_batch() -> Diagnosis:
    return check(small().eval())


def silent_flagged_in_eval_mode() -> Diagnosis:
    return check(flagged(tracks=False, training=False))


def silent_instance_norm_as_built() -> Diagnosis:
    diagnosis = check(nn.Sequential(nn.Conv1d(4, 4, 3), nn.InstanceNorm1d(4)))
    assert not diagnosis.of("NS303")
    return diagnosis


def silent_without_statistics_by_design() -> Diagnosis:
    return check(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False)))
