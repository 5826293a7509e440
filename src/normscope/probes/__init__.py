"""Measure: one measurement per file, each leaves the network and the run in the same bits."""

from normscope.probes._chosen import chosen as chosen
from normscope.probes._history import HistoryProbe as HistoryProbe
from normscope.probes._history_file import read_history as read_history
from normscope.probes._inspect import inspect as inspect
from normscope.probes._moment import Moment as Moment
from normscope.probes._moment import Probe as Probe
from normscope.probes._observe import Observation as Observation
from normscope.probes._observe import observe as observe
from normscope.probes._observer import ProbeObserver as ProbeObserver
from normscope.probes._readings_file import read_readings as read_readings
