"""Write the tables of `docs/explain.md` from the lists that `normscope explain` judges by.

Run by `./dev docs`. A test holds that the committed page is what this writes.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from normscope.studies._explanations import ARMS, PREDICTIONS, PREMISES, Region
from normscope.studies._readings_of import READINGS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explain.md"


def tables() -> dict[str, str]:
    """Each table, by the name of its markers."""
    return {
        "predictions": _table(
            ("row", "explanation", "source", "prediction", "x", "as predicted", "against"),
            (
                (
                    f"`{each.key}`",
                    each.explanation,
                    each.source,
                    each.says + "".join(f" *Premise: {key}.*" for key in each.premises),
                    each.formula,
                    _told(each.predicted),
                    _told(each.against),
                )
                for each in PREDICTIONS
            ),
        ),
        "premises": _table(
            ("premise", "x, which has to be above 0", "or else not decided, because"),
            ((each.key, each.formula, each.words) for each in PREMISES),
        ),
        "arms": _table(("arm", "what it is"), ((arm.key, arm.words) for arm in ARMS)),
        "readings": _table(
            ("letter", "what", "probe"),
            ((each.letter, each.words, f"`{each.probe}`") for each in READINGS.values()),
        ),
    }


def page(text: str) -> str:
    """The page with every table written anew."""
    for name, table in tables().items():
        between = re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text = between.sub(lambda found, new=table: f"{found[1]}{new}\n{found[2]}", text)
    return text


def _told(region: Region) -> str:
    return region.told("x").replace("-", "−")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
