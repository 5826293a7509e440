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
    except BaseException as error:
        if not _is_from_ctrl_c(error):
            raise
        sys.stderr.write(
            "error: Stopped at once; no file is half written, what had been saved is intact.\n"
        )
        sys.exit(130)


def _is_from_ctrl_c(error: BaseException | None) -> bool:
    """Whether an error is a Ctrl-C, or came of one that hit a library at its import."""
    if isinstance(error, SystemExit):  # all has been said
        return False
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
