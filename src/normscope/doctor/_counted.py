"""Counts and shares in words."""


def counted(count: int, noun: str = "batch norm") -> str:
    """So many of them.

    Example:
        >>> counted(1), counted(53)
        ('1 batch norm', '53 batch norms')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def percent(share: float, digits: int = 0) -> str:
    """A share in percent.

    Example:
        >>> percent(0.912), percent(0.0349, 1)
        ('91 %', '3.5 %')
    """
    return f"{100 * share:.{digits}f} %"
