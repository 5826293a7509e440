"""Measure: one measurement per file, each an observer that leaves the run in the same bits.

The room is built and empty: probes move in with *Why does it work?*.
"""
