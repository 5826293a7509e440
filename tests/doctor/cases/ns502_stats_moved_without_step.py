"""Validation in training mode, and passes that only look."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from normscope.doctor import watch
from normscope.records import Diagnosis
from tests.doctor.loops import loss_on, plain, watched
from tests.doctor.networks import rows, small


def validate(model: nn.Module) -> None:
    with torch.no_grad():
        for seed in range(5):
            model(rows(seed=100 + seed))


def properly(model: nn.Module) -> None:
    model.eval()
    validate(model)
    model.train()


def bad_validation_in_training_mode() -> Diagnosis:
    diagnosis = watched(plain, then=validate)
    assert diagnosis.of("NS502")[0].severity == "warning"
    return diagnosis


def bottleneck() -> nn.Sequential:
    """Whose second norm is given the same means by every batch."""
    maps = nn.Linear(4, 8), nn.Linear(8, 6, bias=False)
    return nn.Sequential(maps[0], nn.BatchNorm1d(8), maps[1], nn.BatchNorm1d(6))


def bad_validation_of_a_bottleneck() -> Diagnosis:
    """Neither norm takes a batch of the validation for one of a step that came again."""
    diagnosis = watched(plain, model=bottleneck(), then=validate)
    assert not diagnosis.of("NS503")
    return diagnosis


def good_validation_of_a_bottleneck() -> Diagnosis:
    return watched(plain, model=bottleneck(), then=properly)


def good_validation_in_training_mode() -> Diagnosis:
    return watched(plain, then=properly)


def bad_validation_that_autograd_records() -> Diagnosis:
    """Nobody wrote `no_grad`; still no backward follows."""
    return watched(plain, then=lambda model: [model(rows(seed=seed)) for seed in (100, 101, 102)])


def good_validation_that_autograd_records() -> Diagnosis:
    def properly(model: nn.Module) -> None:
        model.eval()
        model(rows(seed=100))
        model.train()

    return watched(plain, then=properly)


def skipping(at_a_time: int) -> Diagnosis:
    """Now and then batches of the training are thrown away, after their forward pass."""
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watch(model, optimizer) as loop:
        for number in range(24):
            optimizer.zero_grad()
            loss = plain(model, number)
            if number % 8 < 8 - at_a_time:
                loss.backward()
                optimizer.step()
        plain(model, 24).backward()
        optimizer.step()
    return loop.diagnosis()


def bad_skipping_several_batches_at_a_time() -> Diagnosis:
    """As a validation looks."""
    diagnosis = skipping(3)
    assert diagnosis.of("NS502")[0].severity == "warning"
    return diagnosis


def bad_skipping_a_batch_is_told_and_no_harm() -> Diagnosis:
    diagnosis = skipping(1)
    (finding,) = diagnosis.of("NS502")
    assert finding.severity == "info"
    assert "as batches do that are skipped" in finding.message
    return diagnosis


def good_skipping_several_batches_at_a_time() -> Diagnosis:
    return skipping(0)


def good_skipping_a_batch_is_told_and_no_harm() -> Diagnosis:
    return skipping(0)


def counted(model: nn.Module) -> Diagnosis:
    """Somebody counts operations on random numbers, far from the data, and then trains a little."""
    with watch(model) as loop:
        with torch.no_grad():
            model(rows() * 10 + 50)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for number in range(3):
            plain(model, number).backward()
            optimizer.step()
        model.eval()
    return loop.diagnosis()


def bad_counting_operations() -> Diagnosis:
    diagnosis = counted(small())
    assert diagnosis.of("NS502")[0].severity == "warning"
    return diagnosis


def good_counting_operations() -> Diagnosis:
    model = small()
    model[1].eval()
    return counted(model)


def evaluated(model: nn.Module) -> Diagnosis:
    """Predictions under dropout, without a step."""
    with watch(model) as loop:
        validate(model)
    return loop.diagnosis()


def bad_monte_carlo_dropout() -> Diagnosis:
    diagnosis = evaluated(nn.Sequential(small(), nn.Dropout()).train())
    assert diagnosis.of("NS502")[0].severity == "warning"
    return diagnosis


def good_monte_carlo_dropout() -> Diagnosis:
    model = nn.Sequential(small(), nn.Dropout()).eval()
    model[1].train()
    return evaluated(model)


def silent_adaptation() -> Diagnosis:
    """AdaBN: the statistics of another domain are collected on purpose."""
    return evaluated(small())


def silent_update_bn() -> Diagnosis:
    model = small()
    diagnosis = watched(plain, model=model, then=lambda m: update_bn([rows(), rows(seed=1)], m))
    assert not diagnosis.of("NS502")
    return diagnosis


def silent_accumulated_gradients() -> Diagnosis:
    diagnosis = watched(lambda model, n: loss_on(model, *rows(64, seed=n).split(16)))
    assert not diagnosis.of("NS502")
    return diagnosis


def silent_a_pass_without_gradient_in_every_step() -> Diagnosis:
    """A student that labels a batch for itself."""

    def step(model: nn.Module, number: int) -> Tensor:
        with torch.no_grad():
            target = model(rows(seed=200 + number))
        return (model(rows(seed=number)) - target).square().mean()

    return watched(step)
