"""Linear maps that normalize their weights, against NumPy in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from normscope.nn import ScaledLinear, StandardizedLinear, WeightNormalizedLinear, plain_linear

INPUTS, OUTPUTS = 7, 3
X = np.random.default_rng(5).normal(size=(4, INPUTS))
BY_S = np.random.default_rng(6).normal(size=(4, OUTPUTS))
Kind = type[WeightNormalizedLinear] | type[StandardizedLinear]
KINDS = [WeightNormalizedLinear, StandardizedLinear]


def made(kind: Kind, *, scaled: bool = True) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    options = {"bias": True, "generator": generator, "scaled_weights": scaled}
    return kind(INPUTS, OUTPUTS, **options).double()


def gradients(layer: nn.Module) -> dict[str, np.ndarray]:
    layer(torch.from_numpy(X)).backward(torch.from_numpy(BY_S))
    return {name: parameter.grad.numpy() for name, parameter in layer.named_parameters()}


@pytest.mark.parametrize("scaled", [True, False])
def test_weight_norm_is_the_articles(scaled: bool) -> None:
    layer = made(WeightNormalizedLinear, scaled=scaled)
    with torch.no_grad():
        layer.gain.mul_(1.7)
    v, g = layer.weight.detach().numpy(), layer.gain.detach().numpy()[:, None]
    length = np.linalg.norm(v, axis=1, keepdims=True)
    s = layer(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(s, X @ (g * v / length).T, rtol=1e-12)
    found, by_w = gradients(layer), BY_S.T @ X
    by_g = (by_w * v).sum(1, keepdims=True) / length  # equation 3
    np.testing.assert_allclose(found["gain"][:, None], by_g, rtol=1e-10)
    by_v = g / length * by_w - g * by_g / length**2 * v
    np.testing.assert_allclose(found["weight"], by_v, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((found["weight"] * v).sum(1), 0, atol=1e-12)
    np.testing.assert_allclose(found["bias"], BY_S.sum(0), rtol=1e-12)


def test_standardized_weights_are_the_articles() -> None:
    layer = made(StandardizedLinear)
    with torch.no_grad():
        layer.gain.copy_(torch.tensor([0.5, 1.0, 2.0]))
    w = layer.weight.detach().numpy()
    factor = np.array([0.5, 1.0, 2.0])[:, None] * math.sqrt(2 / (1 - 1 / math.pi))
    unit = (w - w.mean(1, keepdims=True)) / (w.std(1, keepdims=True) * math.sqrt(INPUTS))
    s = layer(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(s, X @ (factor * unit).T, rtol=1e-12)
    found, by_w = gradients(layer), BY_S.T @ X
    length = w.std(1, keepdims=True) * math.sqrt(INPUTS)
    tangential = by_w - by_w.mean(1, keepdims=True) - unit * (by_w * unit).sum(1, keepdims=True)
    np.testing.assert_allclose(found["weight"], factor / length * tangential, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_of_the_weights_makes_no_difference(kind: Kind) -> None:
    layer, x = made(kind), torch.from_numpy(X)
    usual = ScaledLinear(INPUTS, OUTPUTS, bias=True).double()
    for scale_invariant in (layer, usual):
        before = scale_invariant(x)
        scale_invariant.weight.data.mul_(9)
        assert torch.allclose(scale_invariant(x), before) == (scale_invariant is layer)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_weights_are_the_usual_draws(kind: Kind, scaled: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    usual = (ScaledLinear if scaled else plain_linear)(
        INPUTS, OUTPUTS, bias=True, generator=generator
    ).double()
    layer = made(kind, scaled=scaled)
    torch.testing.assert_close(layer.weight, usual.weight, rtol=1e-7, atol=0)
    x = torch.from_numpy(X)
    same = torch.allclose(layer(x), usual(x), rtol=1e-5)
    assert same == (kind is WeightNormalizedLinear)


def test_the_gain_keeps_the_variance_from_one_relu_to_the_next() -> None:
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(500, 400, generator=generator).relu()
    made = StandardizedLinear(400, 300, bias=True, generator=generator)(h)
    assert abs(made.var() - 1) < 0.05
