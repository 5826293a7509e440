"""Ratios, medians, targets, JSON, and what is printed of them."""

import json
import sys
from pathlib import Path

import pytest
from benchmarks.printing import in_readme, on_terminal, verdict
from benchmarks.tables import Quartiles, Section, Table, Target

from tests.benchmarks.conftest import ROOT

DRIFTING = Table(
    title="norm = batch, 1 thread",
    unit="s",
    samples={"floor": [1.0, 2.0, 40.0], "normscope": [1.1, 2.2, 44.0], "peer": [3.0, 4.0, 80.0]},
    against="floor",
    targets=(Target("normscope", 1.105, "floor"),),
    left_out={"JAX": "jax is not installed"},
    notes=("It rained.",),
)


def test_ratios_are_taken_within_rounds_so_drift_cancels() -> None:
    ratios = DRIFTING.ratio("normscope", "floor")
    assert ratios.low == pytest.approx(1.1)
    assert ratios.median == pytest.approx(1.1)
    assert ratios.high == pytest.approx(1.1)
    # The ratio of medians is another number wherever rounds differ.
    assert DRIFTING.ratio("peer", "floor") == Quartiles(2.0, 2.0, 2.5)


def test_rounds_that_do_not_pair_are_refused() -> None:
    table = Table("", "s", {"floor": [1.0], "us": [1.0, 2.0]})
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        table.ratio("us", "floor")


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("normscope", 1.105, "floor"), True),
        (Target("normscope", 1.09, "floor"), False),
        (Target("peer", 1.9, "floor", at_least=True), True),
        (Target("peer", 2.1, "floor", at_least=True), False),
        (Target("normscope", 2.2), True),
        (Target("normscope", 2.1), False),
    ],
)
def test_a_target_is_met_on_its_side_of_the_bound(target: Target, met: bool) -> None:
    measured = DRIFTING.measured(target)
    assert measured is not None
    assert target.met_by(measured) is met
    assert verdict(DRIFTING, target).endswith(": met" if met else ": missed")


@pytest.mark.parametrize("target", [Target("JAX", 1, "floor"), Target("floor", 1, "JAX")])
def test_who_took_no_part_met_and_missed_nothing(target: Target) -> None:
    assert DRIFTING.measured(target) is None
    assert "not measured" in verdict(DRIFTING, target)


def test_the_terminal_shows_times_ratios_and_who_is_missing() -> None:
    text = on_terminal(DRIFTING)
    assert "3 rounds; ratios to: floor" in text
    assert "left out: JAX: jax is not installed" in text
    assert "It rained." in text
    assert "normscope: 1.10 x floor (target: at most 1.105): met" in text


def test_small_times_are_shown_in_small_units() -> None:
    lines = on_terminal(Table("", "s", {"a": [0.00123], "b": [1.5]})).splitlines()
    assert lines[1].split()[0] == "ms"
    assert [line.split() for line in lines[2:]] == [["a", "1.23"], ["b", "1500"]]


def test_json_and_back_is_the_same_table() -> None:
    assert Table.from_json(json.loads(json.dumps(DRIFTING.to_json()))) == DRIFTING


def recorded(table: Table, **conditions: object) -> dict[str, object]:
    where = {"date": "2026-01-02", "processor": "A CPU", "cores": 2} | conditions
    return {"conditions": where, "versions": {"torch": "2.13"}, "tables": [table.to_json()]}


def test_the_readme_has_machine_date_and_every_ratio() -> None:
    text = in_readme({"sections": {"training": recorded(DRIFTING)}})
    assert "| floor | 1 (2000.0 ms) |" in text
    assert "| **normscope** | **1.10** |" in text
    assert "| its target | ≤ 1.105, met |" in text
    assert "| peer | 2.00 |" in text
    assert "2026-01-02 on A CPU, 2 cores, with torch 2.13" in text


@pytest.mark.parametrize(
    ("measured", "shown", "said"),
    [
        (1.104, "1.104", "missed"),
        (1.096, "1.096", "met"),
        (1.1, "1.10", "met"),
        (1.2, "1.20", "missed"),
    ],
)
def test_a_figure_that_rounds_to_its_bound_is_shown_apart_from_it(
    measured: float, shown: str, said: str
) -> None:
    target = Target("normscope", 1.1, "floor")
    table = Table(
        "A", "s", {"floor": [1.0], "normscope": [measured]}, against="floor", targets=(target,)
    )
    steps = in_readme({"sections": {"training": recorded(table)}})
    assert f"| **normscope** | **{shown}** |\n| its target | ≤ 1.10, {said} |" in steps
    others = in_readme({"sections": {"whole-run": recorded(table)}})
    assert f"| A: normscope | {shown} × floor | ≤ 1.1 ×, {said} |" in others
    assert verdict(table, target) == f"normscope: {shown} x floor (target: at most 1.1): {said}"


def test_seconds_and_counts_are_told_from_their_bounds_too() -> None:
    for measured, shown in ((10.04, "10.04 s"), (100.4, "100.4 s"), (0.0, "0 s"), (9.0, "9 s")):
        table = Table(
            "A", "s", {"a": [measured]}, targets=(Target("a", 100 if measured > 50 else 10),)
        )
        assert f"| A: a | {shown} | ≤" in in_readme({"sections": {"cuda": recorded(table)}})


def test_the_readme_says_what_was_missed_and_what_was_measured_elsewhere() -> None:
    slow = Table("A GPU", "s", {"50,000 steps": [12.0]}, targets=(Target("50,000 steps", 10),))
    text = in_readme(
        {"sections": {"training": recorded(DRIFTING), "cuda": recorded(slow, processor="Another")}}
    )
    assert "| A GPU: 50,000 steps | 12 s | ≤ 10 s, missed |" in text
    assert "(cuda: 2026-01-02 on Another, 2 cores)" in text


def test_a_record_keeps_sections_that_were_not_measured_again(tmp_path: Path) -> None:
    from benchmarks.__main__ import keep

    path = tmp_path / "record.json"
    keep({"sections": {"training": 1, "population": 2}}, path)
    keep({"sections": {"population": 3}}, path)
    assert json.loads(path.read_text()) == {"sections": {"training": 1, "population": 3}}


def test_the_command_measures_what_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as command

    asked = []

    def measure(options: object) -> list[Table]:
        asked.append(options)
        return [DRIFTING]

    sections = {"training": Section("training", "What it is.", measure)}
    monkeypatch.setattr(command, "SECTIONS", sections)
    target = tmp_path / "samples.json"
    command.main(["--threads", "1", "--steps", "30", "--json", str(target)])
    assert asked[0].threads == [1]
    assert asked[0].steps == 30
    assert asked[0].python["jax"] == sys.executable
    printed = capsys.readouterr().out
    assert "What it is." in printed
    assert "\nwith" not in printed  # no peer was measured
    kept = json.loads(target.read_text())["sections"]["training"]["tables"][0]
    assert Table.from_json(kept) == DRIFTING


def test_the_readmes_figures_are_the_recorded_ones() -> None:
    document = json.loads((ROOT / "docs" / "benchmarks.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- bench -->\n{in_readme(document)}\n" in readme, "run ./dev bench print"


def test_measuring_needs_no_torch_in_the_referees_process() -> None:
    import subprocess

    code = "import sys, benchmarks.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
