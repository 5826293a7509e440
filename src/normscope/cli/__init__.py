"""The commands: wires, prints, exits. The only room that prints."""

import sys


def main() -> None:
    """Run the ``normscope`` command.

    Everything is imported inside, so that Ctrl-C while Python still reads modules ends in a
    sentence as well.
    """
    try:
        from normscope.cli._app import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: Stopped at once; what had been saved before is intact.\n")
        sys.exit(130)
