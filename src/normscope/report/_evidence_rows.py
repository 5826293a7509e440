"""Every row of the evidence as a reader sees it: what was said, what was measured, the verdict."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Literal

from normscope.records import EvidenceRow, EvidenceTable
from normscope.records._evidence import PremiseChecked
from normscope.report import _evidence_charts as charts
from normscope.report import _numbers as numbers
from normscope.report._evidence_words import told
from normscope.report._parts import Claim, Figure, Said, Stepper
from normscope.report._words import Words

_Pictures = Callable[[str], Sequence[Figure | Stepper]]
_Verdict = Literal["survives", "contradicted", "open"]

_LETTER = re.compile("\\b([A-Z]\u2032?)(?=\\(| over )")
LETTERS = (
    *("L", "E", "A", "F", "D", "S", "U", "V", "B", "B\u2032", "I", "C", "M", "T", "O", "K", "H"),
    *("R", "N", "N\u2032", "G", "W"),
)
"""What was measured, as formulas call it."""

_ARM = re.compile(r"\(([a-z0-9-]+)\)")

_VERDICTS: dict[str, _Verdict] = {
    "survives": "survives",
    "contradicted": "contradicted",
    "not decided": "open",
}


def claims(table: EvidenceTable, pictures: _Pictures, say: Words) -> list[tuple[Said, list[Claim]]]:
    """Every prediction under the explanation that it follows from.

    Args:
        table: the evidence.
        pictures: of the prediction that is called by a key.
        say: the words.
    """
    return [
        (
            _capital(told(explanation, say)),
            [_claim(row, table, pictures(row.key), say) for row in rows],
        )
        for explanation, rows in groupby(table.rows, key=lambda row: row.explanation)
    ]


def _capital(said: Said) -> Said:
    """As a heading begins."""
    return Said(said.text[:1].upper() + said.text[1:], said.english)


def _claim(
    row: EvidenceRow, table: EvidenceTable, pictures: Sequence[Figure | Stepper], say: Words
) -> Claim:
    figure = measured(row, say)
    label = say("strip label", measured=figure, thresholds=_thresholds(row, say))
    return Claim(
        name=f"row-{row.key}",
        says=told(row.prediction, say),
        source=told(row.source, say),
        verdict=_VERDICTS[row.judgement],
        judgement=say(f"judgement {_VERDICTS[row.judgement]}"),
        measured=figure,
        predicted=say("predicted here", region=region(*row.predicted)),
        seeds=say("n seeds", n=row.effect.n, all=len(table.seeds)),
        why=_capital(told(row.why, say)) if row.why else None,
        details=_details(row, table, say),
        strip=charts.strip(row, label),
        pictures=pictures,
    )


def measured(row: EvidenceRow, say: Words) -> str:
    """The figure with its interval and its unit."""
    effect, shown = row.effect, _shown(row.scale)
    if effect.n == 0 or math.isnan(effect.value):
        return numbers.number(math.nan)
    around = f" {numbers.interval(effect, shown)}" if math.isfinite(effect.low) else ""
    if row.scale == "points":
        return say("measured points", value=shown(effect.value), interval=around)
    return f"{'× ' * (row.scale == 'ratio')}{shown(effect.value)}{around}"


def _shown(scale: str) -> Callable[[float], str]:
    """How a number of this scale is written."""
    return numbers.significant if scale == "ratio" else numbers.signed


def _thresholds(row: EvidenceRow, say: Words) -> str:
    """Where it is as predicted, and where against."""
    return say("thresholds", predicted=region(*row.predicted), against=region(*row.against))


def region(low: float, high: float) -> str:
    """Where x lies, in signs.

    Example:
        >>> region(-math.inf, 0.8), region(-0.5, math.inf), region(1, 2)
        ('x < 0.8', 'x > −0.5', '1 < x < 2')
    """
    first, last = (numbers.rate(bound) for bound in (low, high))
    if math.isinf(low):
        return f"x < {last}"
    return f"x > {first}" if math.isinf(high) else f"{first} < x < {last}"


def _details(row: EvidenceRow, table: EvidenceTable, say: Words) -> list[tuple[str, Said]]:
    details = [
        (say("what x is"), told(row.formula, say)),
        *_meanings(row, table, say),
        (
            say("measured figure"),
            Said(f"{measured(row, say)}, {say('n seeds', n=row.effect.n, all=len(table.seeds))}"),
        ),
        (say("to survive"), Said(region(*row.predicted))),
        (say("to be contradicted"), Said(region(*row.against))),
    ]
    counts = all(each.holds for each in row.premises)
    if counts and row.effect.n > 1 and math.isfinite(row.p):
        both = say("both p", p=numbers.p_value(row.p), holm=numbers.p_value(row.p_holm))
        details.append((say("threshold p"), Said(both)))
    details += [(say("premise"), _premise(each, say)) for each in row.premises]
    return details


def _meanings(row: EvidenceRow, table: EvidenceTable, say: Words) -> list[tuple[str, Said]]:
    """What a row's letters stand for, and its arms but batch norm and no norm."""
    formula = "; ".join([row.formula, *(each.formula for each in row.premises)])
    letters = [(letter, Said(say(f"letter {letter}"))) for letter in letters_of(formula)]
    words = {arm.key: arm.words for arm in table.arms}
    words |= {arm.key: arm.words for arm in table.left_out}
    named = [key for key in dict.fromkeys(_ARM.findall(formula)) if key in words]
    arms = [(key, told(words[key], say)) for key in named if key not in {"batch", "none"}]
    return [*letters, *arms]


def letters_of(formula: str) -> list[str]:
    """The letters of a formula that stand for what was measured, each once.

    Example:
        >>> letters_of("ln(N′(batch) / N(batch)) / ln 4"), letters_of("the slope of A over log2(r)")
        (['N′', 'N'], ['A'])
    """
    return [each for each in dict.fromkeys(_LETTER.findall(formula)) if each in LETTERS]


def _premise(each: PremiseChecked, say: Words) -> Said:
    """The number that has to be above 0, and whether it is."""
    formula = told(each.formula, say)
    value = numbers.signed(each.effect.value)
    measured = f"{value} {numbers.interval(each.effect, numbers.signed)}"
    key = "premise holds" if each.holds else "premise fails"
    return Said(say(key, formula=formula.text, measured=measured), formula.english)
