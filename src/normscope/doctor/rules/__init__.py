"""One rule per file; the file's docstring is its page.

A file is called ``ns301_default_stats.py`` and has a function ``find(case)`` that yields a
`Found` for each thing that is wrong. What it asks of the case and the case has not
(data, an optimizer, a training loop, a graph) lists the rule as skipped, with the reason.

The docstring begins with one line, and has these headings: *What it finds*, *Why it matters*,
*Example* (a doctest), *Fix*, *On purpose*, *Symptoms* (a list, in the words of those who have
them), *References*. `./dev docs` writes the pages in ``docs/rules``.
"""
