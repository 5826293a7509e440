"""A validation that calls `eval()`, and nobody who calls `train()`."""

import torch
from torch import Tensor, nn

from normscope.records import Diagnosis
from normscope.surgery import freeze
from tests.doctor.loops import loss_on, plain, watched
from tests.doctor.networks import rows, small


def validate(model: nn.Module) -> None:
    model.eval()
    with torch.no_grad():
        model(rows(seed=100))


def bad_quickstart() -> Diagnosis:
    diagnosis = watched(plain, then=validate)
    (finding,) = diagnosis.of("NS505")
    assert finding.evidence["first step in eval mode"] == 1
    assert finding.evidence["steps in eval mode"] == 5
    return diagnosis


def good_quickstart() -> Diagnosis:
    return watched(lambda model, n: plain(model.train(), n), then=validate)


def silent_frozen_from_the_second_epoch_on() -> Diagnosis:
    """Detectors and segmenters freeze their statistics after a while."""
    diagnosis = watched(plain, then=lambda model: freeze(model) if model[1].training else None)
    assert not diagnosis.of("NS505")
    return diagnosis


def silent_eval_from_the_start() -> Diagnosis:
    diagnosis = watched(plain, model=small().eval())
    assert not diagnosis.of("NS505")
    return diagnosis


def silent_attack_in_eval_mode() -> Diagnosis:
    """Adversarial examples are made in eval mode in every step, and learned in training mode."""

    def step(model: nn.Module, number: int) -> Tensor:
        x = rows(seed=number).requires_grad_()
        model.eval()
        (direction,) = torch.autograd.grad(loss_on(model, x), x)
        model.train()
        return loss_on(model, (x + 0.1 * direction.sign()).detach())

    diagnosis = watched(step)
    assert not diagnosis.of("NS505")
    return diagnosis
