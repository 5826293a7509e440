"""Angles, relative steps and effective rates of a step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from normscope.probes._angular_update import AngularUpdate
from normscope.probes._moment import Moment
from normscope.probes._weight_steps import Products, weight_steps
from tests.probes.moments import (
    RATE,
    batch_norm,
    convolutional,
    images,
    made_up,
    read,
    rows,
    small,
    step_of,
)


def by_hand(moment: Moment, name: str) -> dict[str, float]:
    """The whole layer's numbers, with NumPy, by arccos."""
    w, after, g = (
        of[name].detach().double().numpy().ravel()
        for of in (moment.before, moment.after, moment.gradients)
    )
    d = after - w
    cosine = w @ after / np.linalg.norm(w) / np.linalg.norm(after)
    return {
        "norm": np.linalg.norm(w),
        "relative-step": np.linalg.norm(d) / np.linalg.norm(w),
        "angle": np.arccos(cosine),
        "cosine-gradient": w @ g / np.linalg.norm(w) / np.linalg.norm(g),
        "cosine-step": w @ d / np.linalg.norm(w) / np.linalg.norm(d),
        "effective-rate-sgd": RATE / np.linalg.norm(w) ** 2,
        "effective-rate-adam": RATE / np.linalg.norm(w),
    }


def turned(angle: float) -> Moment:
    """A row of length 5 that has turned by an angle and grown to length 10."""
    network = nn.Sequential(nn.Linear(2, 1, bias=False)).double()
    before = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    c, s = math.cos(angle), math.sin(angle)
    network[0].weight.data = 2 * before.new_tensor([[3 * c - 4 * s, 4 * c + 3 * s]])
    return made_up({"0.weight": before}, network, {"0.weight": before})


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_every_number_has_a_second_derivation(optimizer: type[torch.optim.Optimizer]) -> None:
    network = small(norm=batch_norm)
    moment = step_of(network, *rows(20, 8), optimizer(network.parameters(), RATE))
    seen = read(AngularUpdate(), moment)
    for path in ("0", "3"):
        for quantity, value in by_hand(moment, f"{path}.weight").items():
            assert seen[path, quantity].value == pytest.approx(value, rel=1e-7, abs=1e-14)


def test_values_are_quantiles_over_rows() -> None:
    moment = step_of(small(norm=None), *rows(20, 8))
    seen = read(AngularUpdate(), moment)["0", "norm"]
    lengths = np.linalg.norm(moment.before["0.weight"].numpy(), axis=1)
    assert seen.values == pytest.approx(np.quantile(lengths, (0, 0.15, 0.5, 0.85, 1)))


def test_in_front_of_a_batch_norm_weight_and_gradient_are_at_right_angles() -> None:
    seen = read(AngularUpdate(), step_of(small(norm=batch_norm), *rows(20, 8)))
    assert max(map(abs, seen["0", "cosine-gradient"].values)) < 1e-10  # every row by itself
    # By Pythagoras: what is at right angles turns by the arctangent of its relative length.
    relative, angle = seen["0", "relative-step"], seen["0", "angle"]
    least, most = relative.values[0], relative.values[4]
    assert angle.values[0] == pytest.approx(math.atan(least))
    assert angle.values[4] == pytest.approx(math.atan(most))


def test_without_a_norm_they_are_not() -> None:
    seen = read(AngularUpdate(), step_of(small(norm=None), *rows(20, 8)))
    assert max(map(abs, seen["0", "cosine-gradient"].values)) > 0.01
    assert max(map(abs, seen["3", "cosine-gradient"].values)) > 0.01


def test_under_adam_the_step_is_not_at_right_angles_though_the_gradient_is() -> None:
    network = small(norm=batch_norm)
    adam = torch.optim.Adam(network.parameters(), 0.01)
    seen = read(AngularUpdate(), step_of(network, *rows(20, 8), adam))
    assert abs(seen["0", "cosine-gradient"].value) < 1e-10
    assert max(map(abs, seen["0", "cosine-step"].values)) > 0.01


@given(st.floats(1e-9, math.pi - 1e-6))
def test_an_angle_is_that_by_which_a_row_was_turned(angle: float) -> None:
    assert read(AngularUpdate(), turned(angle))["0", "angle"].value == pytest.approx(
        angle, rel=1e-6, abs=0
    )


def test_small_angles_survive_where_arccos_loses_them() -> None:
    assert read(AngularUpdate(), turned(1e-9))["0", "angle"].value == pytest.approx(1e-9, rel=1e-6)
    assert by_hand(turned(1e-9), "0.weight")["angle"] == 0  # the negative control


def test_weights_of_half_the_length_turn_four_times_as_far_under_sgd() -> None:
    """The rate is η/‖w‖²: the gradient doubles, and the row is half as long."""
    angles, rates = [], []
    for scale in (1.0, 0.5):
        network = small(norm=batch_norm)
        network[0].weight.data *= scale
        sgd = torch.optim.SGD(network.parameters(), 1e-6)  # where a tangent is its angle
        seen = read(AngularUpdate(), step_of(network, *rows(20, 8), sgd))
        angles.append(seen["0", "angle"].value)
        rates.append(seen["0", "effective-rate-sgd"].value)
    assert angles[1] / angles[0] == pytest.approx(4, rel=1e-4)
    assert rates[1] / rates[0] == pytest.approx(4)


def test_a_transposed_convolution_has_a_row_for_every_channel_it_gives() -> None:
    moment = step_of(convolutional(), *images())
    step = {each.path: each for each in weight_steps(moment)}["3"]
    w = moment.before["3.weight"]  # [inputs, units of a group, 2, 2]; inputs 0 and 1 are group 0
    rows_by_hand = [w[2 * group : 2 * group + 2, unit] for group in (0, 1) for unit in (0, 1, 2)]
    expected = torch.stack([row.square().sum() for row in rows_by_hand])
    assert torch.allclose(step.rows.ww, expected)


def test_what_does_not_learn_and_embeddings_are_left_out() -> None:
    network = small(norm=batch_norm)
    network[0].weight.requires_grad_(requires_grad=False)
    assert {path for path, _ in read(AngularUpdate(), step_of(network, *rows(20, 8)))} == {"3"}
    words = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(4, 3))
    moment = step_of(words, torch.arange(5)[:, None], torch.tensor([0, 1, 2, 0, 1]))
    assert {path for path, _ in read(AngularUpdate(), moment)} == {"2"}


def test_a_row_that_does_not_move_has_an_angle_of_0_and_no_direction() -> None:
    network = nn.Sequential(nn.Linear(2, 2, bias=False))
    network[0].weight.data = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    same = {"0.weight": network[0].weight.detach().clone()}
    seen = read(AngularUpdate(), made_up(same, network, same))
    assert seen["0", "angle"].values == (0.0,) * 5  # the row of zeros has none
    assert math.isnan(seen["0", "cosine-step"].value)


def test_products_of_the_whole_are_the_sums_over_rows() -> None:
    parts = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    by_rows, as_one = Products.of(*parts).whole, Products.of(*parts.reshape(3, 1, 20))
    for name in ("ww", "wd", "dd", "tt", "wg", "gg"):
        assert torch.allclose(getattr(by_rows, name), getattr(as_one, name)[0])


@pytest.mark.parametrize("shape", [(3, 50_000), (300, 250), (2, 0)])
def test_many_rows_and_long_ones_are_gone_through_part_by_part(shape: tuple[int, int]) -> None:
    w, after, g = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    products = Products.of(w, after, g)
    assert torch.allclose(products.wg, (w.double() * g.double()).sum(1))
    assert torch.allclose(products.dd, (after.double() - w.double()).square().sum(1))
