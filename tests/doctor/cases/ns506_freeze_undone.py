"""Batch norms that were put into eval mode once, before a loop that calls `train()`."""

import torch
from torch import Tensor, nn

from normscope.records import Diagnosis
from normscope.surgery import freeze
from tests.doctor.loops import plain, watched
from tests.doctor.networks import small


def in_training_mode(model: nn.Module, number: int) -> Tensor:
    return plain(model.train(), number)


def bad_frozen_once() -> Diagnosis:
    model = small()
    model[1].eval()
    diagnosis = watched(in_training_mode, model=model)
    assert float(diagnosis.of("NS506")[0].evidence["moved deviations"]) > 0.05
    return diagnosis


def good_frozen_once() -> Diagnosis:
    model = small()
    freeze(model)
    return watched(in_training_mode, model=model)


def validate(model: nn.Module) -> None:
    """Puts back one mode for all."""
    model.eval()
    with torch.no_grad():
        model(torch.zeros(4, 4))
    model.train()


def bad_undone_by_validation() -> Diagnosis:
    model = small()
    model[1].eval()
    return watched(plain, model=model, then=validate)


def good_undone_by_validation() -> Diagnosis:
    model = small()
    freeze(model)
    return watched(plain, model=model, then=validate)


def silent_gradual_unfreezing() -> Diagnosis:
    model = small()
    model[1].eval().requires_grad_(False)

    def unfreeze(model: nn.Module) -> None:
        model[1].train().requires_grad_(True)

    diagnosis = watched(plain, model=model, then=unfreeze)
    assert not diagnosis.of("NS506")
    return diagnosis
