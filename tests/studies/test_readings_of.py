"""Mechanisms that are planted in networks, as the probes of `explain` and the readings see them."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.nn import MLP, BatchNorm, DetachedBatchNorm
from normscope.probes import chosen
from normscope.probes._moment import Moment
from normscope.records import Reading
from normscope.studies._readings_of import READINGS, wanted_readings

GENERATOR = torch.Generator().manual_seed(0)
CENTRES = torch.rand(4, 20, generator=GENERATOR)
LABELS = torch.randint(4, (60,), generator=GENERATOR)
X = CENTRES[LABELS] + 0.3 * torch.randn(60, 20, generator=GENERATOR)


def after_a_step(norm: type[nn.Module] | None) -> list[Reading]:
    """What the probes of predictions read after 20 steps."""
    network = MLP([20, 16, 16, 4], norm=norm, seed=3)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)

    def loss(model: nn.Module) -> Tensor:
        return F.cross_entropy(model(X), LABELS)

    for _ in range(20):
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        optimizer.zero_grad()
        loss(network).backward()
        optimizer.step()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    moment = Moment(20, network, loss, before, gradients, dict.fromkeys(before, 0.02))
    probes = chosen(["gradient-identity", "angular-update", "length-direction", "dead-units"])
    return [reading for probe in probes for reading in probe.read(moment)]


@pytest.fixture(scope="module")
def read() -> dict[str, list[Reading]]:
    return {
        "batch": after_a_step(BatchNorm),
        "detached": after_a_step(DetachedBatchNorm),
        "none": after_a_step(None),
    }


def middle(readings: list[Reading], name: str) -> float:
    values = [each.value for each in wanted_readings(readings, READINGS[name])]
    assert len(values) == 2, "two hidden layers"
    return sum(values) / 2


def test_a_cut_gradient_misses_the_identity(read: dict[str, list[Reading]]) -> None:
    share = {
        key: middle(read[key], "identity") / middle(read[key], "taken-away")
        for key in ("batch", "detached")
    }
    assert share["batch"] < 0.001, "as the row predicts, with room"
    assert share["detached"] > 0.5, "as the row would be contradicted"
    assert not wanted_readings(read["none"], READINGS["identity"])


def test_a_cut_gradient_is_at_no_right_angle(read: dict[str, list[Reading]]) -> None:
    plain = middle(read["none"], "orthogonality")
    assert middle(read["batch"], "orthogonality") / plain < 1e-3
    assert middle(read["detached"], "orthogonality") / plain > 0.1


def test_a_dead_layer_is_seen(read: dict[str, list[Reading]]) -> None:
    network = MLP([20, 16, 16, 4], seed=3)
    with torch.no_grad():
        network.normalized_layers()[0].linear.bias.fill_(-50)
    now = {name: p.detach().clone() for name, p in network.named_parameters()}
    moment = Moment(5, network, lambda n: F.cross_entropy(n(X), LABELS), now, {}, {})
    readings = list(chosen(["dead-units"])[0].read(moment))
    assert middle(readings, "dead") >= 0.5, "one layer of two, whole"
    assert middle(read["batch"], "dead") < 0.1
    assert not wanted_readings(readings, READINGS["one-sided"]), "not before the first step"
    first = [each.model_copy(update={"step": 0}) for each in readings]
    assert middle(first, "one-sided") >= 0.5
    assert math.isclose(
        middle(first, "one-sided"),
        sum(
            r.value
            for r in first
            if r.quantity.endswith("positive") and r.layer != "layers.2.linear"
        )
        / 2,
    )
