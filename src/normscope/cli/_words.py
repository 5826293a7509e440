"""What the library says in Python's words, in those of the command line."""

from collections.abc import Iterator
from contextlib import contextmanager

from normscope._errors import NormscopeError

_ON_A_COMMAND_LINE = {
    "pass a loader": "--data package.module:loader",
    "pass optimizer=": "--optimizer package.module:function",
    "pass forward=lambda model, batch: ...": "--forward package.module:function",
    "pass forward= to": "--forward package.module:function to",
    "pass forward=": "--forward package.module:function",
    "forward(model, batch)": "the function of --forward",
    "suppress: ": "--suppress: ",
}


def typed(text: str) -> str:
    """What a person is told to pass, as it is typed.

    Example:
        >>> typed("needs the optimizer: pass optimizer=")
        'needs the optimizer: --optimizer package.module:function'
    """
    for said, there in _ON_A_COMMAND_LINE.items():
        text = text.replace(said, there)
    return text


@contextmanager
def errors_as_typed() -> Iterator[None]:
    """Errors of the library from inside the block, in the words of the command line.

    Raises:
        NormscopeError: of the type that was raised.
    """
    try:
        yield
    except NormscopeError as error:
        if (told := typed(str(error))) == str(error):
            raise
        raise type(error)(told) from error
