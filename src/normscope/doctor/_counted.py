"""Counts in words."""


def counted(count: int, noun: str = "batch norm") -> str:
    """So many of them.

    Example:
        >>> counted(1), counted(53)
        ('1 batch norm', '53 batch norms')
    """
    return f"{count} {noun}{'s' * (count != 1)}"
