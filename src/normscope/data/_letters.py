"""The built-in letters: A to J, cut from fonts that may be given away."""

from importlib.resources import as_file, files

from normscope._errors import DataError
from normscope.data._contents import Contents
from normscope.data._npz import read_npz

_CLASSES = tuple("ABCDEFGHIJ")


def read_letters() -> Contents:
    """Read the set that comes with the package.

    Raises:
        DataError: if the installation lost it.
    """
    resource = files("normscope.data").joinpath("letters", "letters.npz")
    if not resource.is_file():
        msg = "The built-in set letters is missing from this installation; install Normscope again."
        raise DataError(msg)
    with as_file(resource) as path:
        contents = read_npz(path)
    return Contents(contents.path, contents.tables, _CLASSES)
