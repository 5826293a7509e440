"""Inputs on another scale, and weights that changed."""

import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.deep import Batches, data, deep, fitted, fitted_diagnosis


def images_in_bytes() -> Batches:
    """0 … 255 where the training had 0 … 1."""
    return [(255 * inputs, labels) for inputs, labels in data()]


def bad_input_in_bytes() -> Diagnosis:
    return fitted_diagnosis(fitted(), images_in_bytes())


def good_input_in_bytes() -> Diagnosis:
    return fitted_diagnosis(fitted(), [(x / 255, y) for x, y in images_in_bytes()])


def bad_mean_not_subtracted() -> Diagnosis:
    return fitted_diagnosis(fitted(), [(inputs + 3, labels) for inputs, labels in data()])


def good_mean_not_subtracted() -> Diagnosis:
    return fitted_diagnosis(fitted())


def quantized() -> nn.Sequential:
    """To five levels."""
    model = fitted()
    with torch.no_grad():
        for number in (0, 3, 6):
            weight = model[number].weight
            step = weight.abs().max() / 2
            weight.copy_((weight / step).round() * step)
    return model


def bad_quantized() -> Diagnosis:
    return fitted_diagnosis(quantized())


def good_quantized() -> Diagnosis:
    model = quantized()
    recalibrate(model, data())
    return fitted_diagnosis(model)


def silent_same_data() -> Diagnosis:
    return fitted_diagnosis(fitted(), data(seed=5))


def silent_fresh() -> Diagnosis:
    return fitted_diagnosis(deep(), images_in_bytes())


def silent_small_batches() -> Diagnosis:
    """The noise of batches of four rows is not taken for a mismatch."""
    return fitted_diagnosis(fitted(), data(size=4)[:6])


def silent_another_domain_without_labels() -> Diagnosis:
    """A little wider, and nothing says that answers are worse."""
    return check(fitted(), [1.1 * inputs for inputs, _ in data()])
