"""Diagnose: an engine, and one rule per file whose docstring is its page."""

from normscope.doctor._assert_healthy import assert_healthy as assert_healthy
from normscope.doctor._check import MOST_BATCHES as MOST_BATCHES
from normscope.doctor._check import check as check
from normscope.doctor._sarif import sarif as sarif
from normscope.doctor._symptoms import explain as explain
from normscope.doctor._watch import Watch as Watch
from normscope.doctor._watch import watch as watch
