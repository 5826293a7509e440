"""``python -m normscope``: the same as the ``normscope`` command."""

from normscope.cli import main

main()
