"""Every probe by its name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from normscope.probes._landscape import Landscape
from normscope.probes._moment import Probe
from normscope.probes._safe_step import SafeStep
from normscope.probes._sharpness import Sharpness

_FREE: tuple[type[Probe], ...] = ()
_OTHERS: tuple[type[Probe], ...] = (Landscape, SafeStep, Sharpness)

ALL: Mapping[str, Callable[[], Probe]] = MappingProxyType(
    {probe.name: probe for probe in (*_FREE, *_OTHERS)}
)
"""What makes each, with its defaults."""

FREE = tuple(probe.name for probe in _FREE)
"""Those that look at what a step leaves behind, or share one pass among them."""
