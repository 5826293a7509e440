"""`normscope train --probe`: readings in the run folder, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from normscope.probes import _chosen as chosen_probes
from normscope.probes import read_readings
from tests.cli.test_commands import SMALL, Answer, assert_one_sentence, normscope_
from tests.probes.looking import Everything, Failing, Movement

__all__ = ["normscope_"]  # a fixture


@pytest.fixture(autouse=True)
def _toy_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen_probes, "ALL", {"everything": Everything, "movement": Movement})


def steps(folder: str) -> dict[str, list[int]]:
    found: dict[str, set[int]] = {}
    for reading in read_readings(folder):
        found.setdefault(reading.probe, set()).add(reading.step)
    return {name: sorted(seen) for name, seen in found.items()}


def test_train_leaves_readings_and_the_same_bits(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    both = {"everything": [6, 12, 18], "movement": [6, 12, 18]}
    for folder, words, read in (
        ("plain", [], {}),
        ("one", ["--probe", "movement"], {"movement": [*range(3, 19, 3)]}),
        ("both", ["--probe", "movement,everything", "--probe-every", "6"], both),
    ):
        answer = normscope_("train", "--data", tiny_file, *SMALL, "--out", folder, "-q", *words)
        assert answer.code == 0, answer
        assert steps(folder) == read
    weights = {
        (sorted(Path(folder, "checkpoints").iterdir())[-1] / "network.safetensors").read_bytes()
        for folder in ("plain", "one", "both")
    }
    assert len(weights) == 1


def test_it_says_where_the_readings_are(
    tiny_file: Path, normscope_: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "--data", tiny_file, *SMALL, "--no-inspect"]
    said = " ".join(normscope_(*words, "--out", "it", "--probe", "movement").out.split())
    number = len(read_readings("it"))
    assert f"The probes left {number} readings, a line each, in it/readings.jsonl;" in said
    assert "Not all" not in said
    unseen = normscope_(*words, "--out", "unseen").out
    assert "readings" not in unseen
    monkeypatch.setattr(chosen_probes, "ALL", {"failing": Failing, "movement": Movement})
    with pytest.warns(RuntimeWarning, match="failing"):
        said = normscope_(*words, "--out", "failed", "--probe", "all").out
    assert "Not all could be read: failing." in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--probe", "movment"], "did you mean movement?"),
        (["--probe", "xyz"], "there are everything, movement, all"),
        (["--probe-every", "3"], "--probe all"),
        (["--probe", "all", "--probe-every", "0"], "--probe-every"),
    ],
)
def test_what_is_refused(
    tiny_file: Path, normscope_: Callable[..., Answer], words: list[str], said: str
) -> None:
    answer = normscope_("train", "--data", tiny_file, *SMALL, "--out", "r", *words)
    assert_one_sentence(answer, 2, said)
    assert not Path("r").exists()
