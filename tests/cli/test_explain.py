"""`normscope explain` as a person types it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from normscope._errors import InputError
from normscope.cli._evidence_display import shown
from normscope.cli.explain import _rates, _seconds
from normscope.records import EvidenceTable, ExplainedArm, LeftOut, Study
from normscope.studies._evidence import judged
from tests.cli.test_commands import Answer, assert_one_sentence, normscope_
from tests.studies.evidence import Truth, made_up

__all__ = ["normscope_"]  # a fixture

SMALL = ["--hidden", "12,8", "--epochs", "1", "--batch-size", "20"]


def table() -> EvidenceTable:
    """Of a made-up study, in which something survives and something is contradicted."""
    truths = {"none": Truth(70, 88), "batch": Truth(80, 90), "weight": Truth(71, 88)}
    study, names = made_up(truths, seeds=6, noise=0.2)
    return EvidenceTable(
        recipe=study.design.recipe,
        data=study.data,
        environment=study.environment,
        arms=tuple(
            ExplainedArm(
                key=key,
                words=f"a {key}",
                name=name,
                best_learning_rate=0.02,
                at_the_edge=key == "none",
            )
            for key, name in names.items()
        ),
        left_out=(LeftOut(key="last", words="the last", why="the budget has no room for it"),),
        learning_rates=study.design.learning_rates,
        seeds=study.design.seeds,
        confidence=0.95,
        budget_seconds=1200,
        expected_seconds=1100,
        rows=judged(study, names, {}),
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_reads_well(width: int) -> None:
    file, made = io.StringIO(), table()
    Console(file=file, width=width, markup=False, emoji=False, highlight=False).print(shown(made))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    row = next(row for row in made.rows if row.key == "weight-norm")
    assert row.judgement == "contradicted"
    for part in (row.prediction, row.source, "= −4.", "points (−", "6 seeds; predicted > 0"):
        assert part in text, part
    assert "survives Each at its own best learning rate" in text
    assert "Left out: batch norm on the logits alone." in text
    assert (
        "none (a none) 0.02*; batch (a batch) 0.02; weight (a weight) 0.02. * at the edge" in text
    )
    assert "To survive is not to be proved" in text
    assert "The gain: L(batch) − L(none)." in text
    counted = [sum(r.judgement == what for r in made.rows) for what in ("survives", "contradicted")]
    verb = "survives" if counted[0] == 1 else "survive"
    assert f"predictions: {counted[0]} {verb}, {counted[1]} contradicted" in text
    assert sum(bool(line) and not line.startswith(" ") for line in lines) >= 12, "explanations"


def test_it_says_what_it_will_do_then_the_table_then_where(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    command = ["explain", "--data", tiny_file, *SMALL, "--arms", "batch", "--rates", "0.05"]
    answer = normscope_(*command, "--seeds", "1", "--workers", "1")
    assert answer.code == 0, answer
    assert answer.out.startswith("Why does batch norm work? 2 arms on bars.npz.\n2 runs: 2 arms")
    text = " ".join(answer.out.split())
    assert "Left out: noisy, detached, " in text
    assert text.index("2 to train") < text.index("2 of 2 runs") < text.index("1 seed of 1;")
    assert answer.out.endswith("studies/bars-why\n")
    assert Study.load(Path("studies/bars-why")).status == "complete"
    again = normscope_(*command, "--seeds", "1", "--format", "json")
    assert json.loads(again.out) == json.loads(Path("studies/bars-why/evidence.json").read_text())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "soon"], "--budget soon"),
        (["--budget", "0s"], "budget"),
        (["--arms", "nonsense"], "nonsense"),
        (["--rates", "fast"], "--rates fast"),
        (["--seeds", "0"], "seeds"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    options: list[str], words: str, tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_("explain", "--data", tiny_file, *SMALL, *options)
    assert_one_sentence(answer, 2, words)


def test_times_and_rates_are_read_as_people_write_them() -> None:
    assert [_seconds(text) for text in ("90s", "20m", "2h", "1h 30m", "1.5h", "45")] == [
        90, 1200, 7200, 5400, 5400, 45,
    ]  # fmt: skip
    for wrong in ("", "m", "20 minutes", "-5m", "1d"):
        with pytest.raises(InputError, match="give a time"):
            _seconds(wrong)
    assert _rates("0.1,0.02") == [0.1, 0.02]
    assert _rates(None) is None
