"""Faults planted in a model of one's own: what `explain` says of its batch norm."""

import shutil
from pathlib import Path

import pytest

from normscope.data import Dataset
from normscope.records import EvidenceRow, Recipe
from normscope.studies import explain
from tests.probes import planted as networks

RATE = 0.005


def rows_of(planted: str, tiny: Dataset, out: Path, *, seeds: int) -> dict[str, EvidenceRow]:
    """The table of no norm against what is planted in the place of batch norm."""
    shutil.copy(networks.__file__, "planted_networks.py")  # as a user has it, where they work
    recipe = Recipe(
        model="planted_networks:network",
        model_options={"planted": planted},
        epochs=3,
        batch_size=30,
    )
    table = explain(
        recipe,
        data=tiny,
        out=out / planted,
        arms=["batch"],
        learning_rates=[RATE],
        seeds=seeds,
        workers=1,
    )
    assert [arm.key for arm in table.arms] == ["none", "batch"]
    return {row.key: row for row in table.rows}


def test_a_table_says_what_was_planted(tiny: Dataset, tmp_path: Path) -> None:
    """No gradient through the statistics, and a shift behind them."""
    rows = rows_of("cut, shift", tiny, tmp_path, seeds=3)
    assert rows["identity"].judgement == "contradicted"
    assert rows["identity"].effect.value == pytest.approx(1, abs=0.2), "all of it is missed"
    assert rows["drift"].effect.low > 1.5
    assert rows["drift"].judgement == "contradicted"


@pytest.mark.slow
def test_with_more_seeds_rows_of_orthogonality_are_decided_too(
    tiny: Dataset, tmp_path: Path
) -> None:
    said = {}
    for planted in ("healthy", "cut", "radial"):
        rows = rows_of(planted, tiny, tmp_path, seeds=8)
        said[planted] = [rows[key].judgement for key in ("identity", "orthogonal", "drift")]
    assert said == {
        "healthy": ["survives", "survives", "survives"],
        "cut": ["contradicted", "contradicted", "survives"],
        "radial": ["survives", "contradicted", "survives"],
    }
