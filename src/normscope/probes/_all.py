"""Every probe by its name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from normscope.probes._angular_update import AngularUpdate
from normscope.probes._batch_noise import BatchNoise
from normscope.probes._covariate_shift import CovariateShift
from normscope.probes._dead_units import DeadUnits
from normscope.probes._depth_growth import DepthGrowth
from normscope.probes._distribution_drift import DistributionDrift
from normscope.probes._gradient_identity import GradientIdentity
from normscope.probes._gradient_ratio import GradientRatio
from normscope.probes._input_independence import InputIndependence
from normscope.probes._landscape import Landscape
from normscope.probes._length_direction import LengthDirection
from normscope.probes._moment import Probe
from normscope.probes._safe_step import SafeStep
from normscope.probes._scale_invariance import ScaleInvariance
from normscope.probes._sharpness import Sharpness
from normscope.probes._stable_rank import StableRank
from normscope.probes._statistics_gap import StatisticsGap

_OF_THE_STEP: tuple[type[Probe], ...] = (AngularUpdate, LengthDirection, GradientRatio)
_OF_ONE_PASS: tuple[type[Probe], ...] = (
    DistributionDrift,
    DeadUnits,
    DepthGrowth,
    InputIndependence,
    GradientIdentity,
    StableRank,
)
_OF_MORE: tuple[type[Probe], ...] = (
    CovariateShift,
    Landscape,
    SafeStep,
    Sharpness,
    ScaleInvariance,
    BatchNoise,
    StatisticsGap,
)

ALL: Mapping[str, Callable[[], Probe]] = MappingProxyType(
    {probe.name: probe for probe in (*_OF_THE_STEP, *_OF_ONE_PASS, *_OF_MORE)}
)
"""What makes each, with its defaults; first those that cost least."""

FREE = tuple(probe.name for probe in _OF_THE_STEP)
"""The names of those that cost no pass."""

SHARED = tuple(probe.name for probe in _OF_ONE_PASS)
"""The names of those that cost one pass together, however many of them read."""
