"""Diagnose: an engine, and one rule per file whose docstring is its page.

The room is built and empty: rules move in with *What is wrong with my model?*.
"""
