"""How names from a stranger's file are put into a sentence."""

LONGEST = 80


def shown(name: object) -> str:
    r"""Give text that fits in a sentence and cannot move a terminal's cursor.

    A path or a key comes from outside: it may hold line breaks, escape codes, or a megabyte.

    >>> shown("train_labels"), shown("a\nb")
    ('train_labels', "'a\\nb'")
    """
    text = str(name)
    if not text.isprintable():
        text = ascii(text)
    return text


def brief(name: object) -> str:
    """`shown`, cut to the length of a name.

    >>> len(brief("x" * 1000))
    80
    """
    # Cut before it is escaped as well: escaping a megabyte to keep eighty characters is a waste.
    text = shown(str(name)[:LONGEST])
    return text if len(text) <= LONGEST and len(str(name)) <= LONGEST else text[: LONGEST - 1] + "…"


def listed(names: "list[str] | tuple[str, ...]", *, most: int = 12) -> str:
    """The names, separated by commas; the first `most` of many.

    >>> listed(["b", "a"]), listed([])
    ('b, a', 'nothing')
    """
    if not names:
        return "nothing"
    rest = len(names) - most
    words = ", ".join(brief(name) for name in names[:most])
    return f"{words} and {rest} more" if rest > 0 else words
