"""Diagnose: an engine, and one rule per file whose docstring is its page."""

from normscope.doctor._check import check as check
