"""What was seen of a training loop, in a form that does not grow with its length."""

from dataclasses import dataclass


@dataclass
class LoopLog:
    """What a watch saw.

    Attributes:
        steps: how many steps the optimizer made.
    """

    steps: int = 0
