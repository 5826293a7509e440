"""The keys under which one file holds all the arrays: the article's six, and Keras's."""

from collections.abc import Iterable
from pathlib import Path

from normscope._errors import DataError
from normscope.data._text import listed, shown

Keys = dict[str, tuple[str, str]]

ARTICLE: Keys = {role: (f"{role}_dataset", f"{role}_labels") for role in ("train", "valid", "test")}
KERAS: Keys = {role: (f"x_{role}", f"y_{role}") for role in ("train", "valid", "test")}

_LETTERS = tuple("ABCDEFGHIJ")


def article_keys(found: Iterable[str], path: Path) -> Keys:
    """Give the article's six keys, if they are all there.

    Raises:
        DataError: if one is missing; the message lists what is there.
    """
    names = list(found)
    missing = [key for pair in ARTICLE.values() for key in pair if key not in names]
    if missing:
        msg = (
            f"{shown(path)} has no {listed(missing)} (it holds {listed(names)}); a data set has "
            f"the keys {listed([key for pair in ARTICLE.values() for key in pair])}."
        )
        raise DataError(msg)
    return ARTICLE


def unused_note(found: Iterable[str], keys: Keys) -> list[str]:
    """Say which keys are left unread."""
    used = {key for pair in keys.values() for key in pair}
    left = [name for name in found if name not in used]
    return [f"Not used: {listed(left)}."] if left else []


def letters_if_notmnist(path: Path, count: int) -> tuple[str, ...] | None:
    """Give the letters A to J, if there are ten classes and the file says notMNIST."""
    return _LETTERS if count == len(_LETTERS) and "notmnist" in path.name.lower() else None
