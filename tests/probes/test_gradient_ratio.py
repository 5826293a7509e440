"""The gradient's norm over the weights'."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from normscope.probes._gradient_ratio import GradientRatio
from tests.probes.moments import batch_norm, made_up, read, rows, small, step_of


def test_against_norms_by_hand() -> None:
    moment = step_of(small(norm=batch_norm), *rows(20, 8))
    seen = read(GradientRatio(), moment)["3", "ratio"]
    w, g = moment.before["3.weight"].numpy(), moment.gradients["3.weight"].numpy()
    assert seen.value == pytest.approx(np.linalg.norm(g) / np.linalg.norm(w))
    each = np.linalg.norm(g, axis=1) / np.linalg.norm(w, axis=1)
    assert seen.values == pytest.approx(np.quantile(each, (0, 0.15, 0.5, 0.85, 1)))


def test_weights_of_half_the_length_have_four_times_the_ratio_in_front_of_a_batch_norm() -> None:
    ratios = {}
    for norm in (batch_norm, None):
        for scale in (1.0, 0.5):
            network = small(norm=norm)
            network[0].weight.data *= scale
            ratios[norm, scale] = read(GradientRatio(), step_of(network, *rows(20, 8)))[
                "0", "ratio"
            ]
    assert ratios[batch_norm, 0.5].value == pytest.approx(4 * ratios[batch_norm, 1.0].value)
    assert ratios[None, 0.5].value < 3 * ratios[None, 1.0].value  # without one, about twice


def test_weights_of_zero() -> None:
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    zeros, ones = {"0.weight": torch.zeros(1, 2)}, {"0.weight": torch.ones(1, 2)}
    assert read(GradientRatio(), made_up(zeros, network, ones))["0", "ratio"].value == math.inf
    assert math.isnan(read(GradientRatio(), made_up(zeros, network, zeros))["0", "ratio"].value)
