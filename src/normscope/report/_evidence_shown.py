"""What figures of the evidence are made of, and what all of them say alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from normscope.records import EvidenceTable, Study
from normscope.records._evidence_pictures import ArmNumbers, EvidencePictures, SeedLine
from normscope.report._parts import Figure, Key, Stepper, Table
from normscope.report._words import Words

BATCH, _NONE, _OTHER = 0, 1, 2
_STYLES = {"batch": BATCH, "none": _NONE}
"""Of arms, in every picture; whichever third there is has one style as well."""


@dataclass(frozen=True)
class Shown:
    """What figures are made of."""

    study: Study
    evidence: EvidenceTable
    pictures: EvidencePictures
    say: Words

    def lines(self, quantity: str, over: str) -> list[SeedLine]:
        """The lines of a quantity at the rate that is best without a norm, where that decides."""
        rate = self.best.get("none")
        return [
            line
            for line in self.pictures.lines
            if (line.quantity, line.over, line.learning_rate) == (quantity, over, rate)
        ]

    @cached_property
    def best(self) -> dict[str, float]:
        """Every arm's own best rate, by its key."""
        return {arm.key: arm.best_learning_rate for arm in self.evidence.arms}

    def numbers(self, arm: str, rate: float | None = None) -> ArmNumbers | None:
        """Of an arm, by default at its own best rate."""
        wanted = self.best.get(arm) if rate is None else rate
        for each in self.pictures.numbers:
            if (each.arm, each.learning_rate) == (arm, wanted):
                return each
        return None


Made = Figure | Stepper | None
"""None where what it would show is not there."""


def style_of(arm: str) -> int:
    """Which colour, dash and shape an arm has."""
    return _STYLES.get(arm, _OTHER)


def keys_of(arms: Sequence[str]) -> list[Key]:
    """A legend of arms, batch norm first."""
    return [Key(style_of(arm), arm) for arm in sorted(dict.fromkeys(arms), key=style_of)]


def drawn_table(head: Sequence[str], rows: Sequence[Sequence[str]], say: Words) -> Table:
    """The figures that a picture is drawn from."""
    return Table(title=say("curves table"), head=head, rows=rows)
