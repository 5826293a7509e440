"""A reading changes nothing of the network, nor of what is drawn next."""

import copy

import pytest
import torch
from torch import nn

from normscope.probes._angular_update import AngularUpdate
from normscope.probes._batch_noise import BatchNoise
from normscope.probes._dead_units import DeadUnits
from normscope.probes._depth_growth import DepthGrowth
from normscope.probes._distribution_drift import DistributionDrift
from normscope.probes._gradient_ratio import GradientRatio
from normscope.probes._input_independence import InputIndependence
from normscope.probes._length_direction import LengthDirection
from normscope.probes._moment import Probe
from normscope.probes._scale_invariance import ScaleInvariance
from normscope.probes._stable_rank import StableRank
from normscope.probes._statistics_gap import StatisticsGap
from tests.probes.moments import convolutional, images, step_of

PROBES = (
    AngularUpdate,
    BatchNoise,
    DeadUnits,
    DepthGrowth,
    DistributionDrift,
    GradientRatio,
    InputIndependence,
    LengthDirection,
    ScaleInvariance,
    StableRank,
    StatisticsGap,
)


def test_every_probe_has_a_name_of_its_own() -> None:
    assert len({probe().name for probe in PROBES}) == len(PROBES)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("at_work", [True, False])
def test_a_reading_leaves_no_trace(probe: type[Probe], at_work: bool) -> None:
    x, labels = images()
    network = nn.Sequential(*convolutional(), nn.Dropout(0.1))
    moment = step_of(network, x, labels)
    network.train(at_work)
    network[3].eval()
    state = copy.deepcopy(network.state_dict())
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    modes = [module.training for module in network.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    random = torch.get_rng_state()
    assert probe().read(moment)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(p.grad, gradients[n]) for n, p in network.named_parameters())
    assert [module.training for module in network.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
