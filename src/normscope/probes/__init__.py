"""Measure: one measurement per file, each leaves the network and the run in the same bits."""

from normscope.probes._history import HistoryProbe as HistoryProbe
from normscope.probes._history_file import read_history as read_history
from normscope.probes._inspect import inspect as inspect
