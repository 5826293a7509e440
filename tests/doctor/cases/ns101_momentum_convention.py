"""Keras' 0.99, a momentum of 0, and a training that was too short for its momentum."""

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import rows, small


def with_momentum(momentum: float | None, *, steps: int = 0) -> nn.Sequential:
    """A small network after that many batches of its own."""
    model = small()
    model[1].momentum = momentum
    for seed in range(steps):
        model(features(seed))
    return model


def features(seed: int) -> Tensor:
    """Rows that are not at all standardized."""
    return 5 * rows(seed=seed) + 10


def data() -> list[Tensor]:
    return [features(100 + seed) for seed in range(4)]


def severity(diagnosis: Diagnosis) -> str:
    (finding,) = diagnosis.of("NS101")
    return finding.severity


def bad_keras() -> Diagnosis:
    diagnosis = check(with_momentum(0.99, steps=5), data())
    evidence = diagnosis.of("NS101")[0].evidence
    assert abs(evidence["share of one batch's sampling variance"] - 0.99 / 1.01) < 1e-12
    assert 0.05 < evidence["sampling error in deviations"] < 0.3  # of 64 rows: about 1 / 8
    assert severity(diagnosis) == "warning"
    return diagnosis


def good_keras() -> Diagnosis:
    return check(with_momentum(0.1, steps=40), data())


def bad_zero_while_training() -> Diagnosis:
    diagnosis = check(with_momentum(0.0, steps=20), data())
    assert severity(diagnosis) == "warning"
    assert severity(check(with_momentum(0.0, steps=20))) == "warning"
    assert severity(check(with_momentum(0.0))) == "info"
    return diagnosis


def good_zero_while_training() -> Diagnosis:
    return check(with_momentum(0.1, steps=40), data())


def bad_too_slow() -> Diagnosis:
    """The data show that it is the initial values; without data it is a note."""
    model = with_momentum(0.01, steps=50)
    diagnosis = check(model, data())
    assert severity(diagnosis) == "warning"
    assert severity(check(model)) == "info"
    assert abs(diagnosis.of("NS101")[0].evidence["initial values left"] - 0.99**50) < 1e-12
    return diagnosis


def good_too_slow() -> Diagnosis:
    model = with_momentum(0.01, steps=50)
    recalibrate(model, data())
    return check(model, data())


def silent_slow_but_harmless() -> Diagnosis:
    """Inputs that are standardized already: the initial values are right."""
    model = nn.Sequential(nn.BatchNorm1d(4, momentum=0.001))
    for seed in range(20):
        model(rows(seed=seed))
    diagnosis = check(model, [rows(seed=100 + seed) for seed in range(4)])
    assert not diagnosis.of("NS101")
    assert severity(check(model)) == "info"
    return diagnosis


def silent_counter_tells_another_story() -> Diagnosis:
    """Statistics that no three batches at this momentum can have left: nothing is said."""
    model = small()
    model[1].running_var.fill_(0.01)
    model[1].num_batches_tracked.fill_(3)
    diagnosis = check(model)
    assert not diagnosis.of("NS101")
    return diagnosis


def silent_calibration_by_one_batch() -> Diagnosis:
    return check(with_momentum(1.0, steps=1))


def silent_cumulative() -> Diagnosis:
    diagnosis = check(with_momentum(None, steps=3))
    assert not diagnosis.of("NS101")
    return diagnosis


def silent_frozen() -> Diagnosis:
    model = with_momentum(0.0, steps=3).eval()
    strange = with_momentum(0.99, steps=3).eval().requires_grad_(requires_grad=False)
    assert not check(strange).of("NS101")
    return check(model)


def silent_statistics_as_of_a_trained_network() -> Diagnosis:
    model = nn.Sequential(*(nn.BatchNorm1d(16, momentum=0.01) for _ in range(3)))
    generator = torch.Generator().manual_seed(0)
    for count, norm in enumerate(model):
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        norm.num_batches_tracked.fill_(count)
    return check(model)
