"""`normscope report`: where the page goes, what it replaces, and what it says when it cannot."""

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from normscope.cli import main
from normscope.records import Inspection
from tests.report import samples
from tests.report.evidence_samples import evidence
from tests.report.pages import SMALL, small_study


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command in this process: its exit code, and what it printed."""

    def run(*arguments: object, command: str = "report") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["normscope", command, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
            sys.exit(0)
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run whose inside has been looked at."""
    folder = tmp_path / "run"
    folder.mkdir()
    samples.run().save(folder / "run.json")
    samples.inspection(widths=SMALL).save(folder / "inspection.json")
    return folder


def refused(answer: tuple[int, str, str], *says: str) -> None:
    code, _, error = answer
    assert code == 2, answer
    assert len(error.strip().splitlines()) == 1
    assert all(one in error for one in says), error


def test_the_page_of_a_run_lies_in_its_folder(report, run_folder: Path) -> None:
    code, out, _ = report(run_folder)
    assert code == 0
    page = run_folder / "report.html"
    assert f"Wrote {page}" in out
    assert '<html lang="en">' in page.read_text(encoding="utf-8")


_NO_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails
from normscope.cli import main
sys.argv = ["normscope", "report", {study!r}]
main()
"""


def python(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


def test_the_page_of_a_study_is_drawn_where_there_is_no_torch(tmp_path: Path) -> None:
    small_study().save(tmp_path / "study.json")
    script = _NO_TORCH.format(study=str(tmp_path))
    done = python(script)
    assert done.returncode == 0, done.stderr
    assert "Steps to the target" in (tmp_path / "report.html").read_text(encoding="utf-8")
    control = script.replace("normscope.cli import main", "normscope.training import train")
    done = python(control)
    assert "torch" in done.stderr


def test_a_study_with_evidence_has_the_page_of_the_evidence_without_torch(tmp_path: Path) -> None:
    study, table, pictures = evidence()
    study.save(tmp_path / "study.json")
    table.save(tmp_path / "evidence.json")
    pictures.save(tmp_path)
    done = python(_NO_TORCH.format(study=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "each explanation against the evidence" in page
    assert 'class="stepper"' in page


def test_evidence_beside_a_compressed_study_is_shown(report, tmp_path: Path) -> None:
    study, table, _ = evidence()
    compressed = gzip.compress(study.model_dump_json().encode())
    (tmp_path / "study.json.gz").write_bytes(compressed)
    (tmp_path / "another.json.gz").write_bytes(compressed)
    table.save(tmp_path / "evidence.json")
    for name, shown in {"study.json.gz": True, "another.json.gz": False}.items():
        assert report(tmp_path / name, "--out", tmp_path / "page.html")[0] == 0
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert ("each explanation against the evidence" in page) == shown


def test_damaged_evidence_is_refused(report, tmp_path: Path) -> None:
    small_study(seeds=2, inspections=False).save(tmp_path / "study.json")
    (tmp_path / "evidence.json").write_text("{}")
    refused(report(tmp_path), "evidence.json", "no evidence that this version")


def test_it_is_written_anew_in_another_language(report, run_folder: Path) -> None:
    report(run_folder)
    assert report(run_folder, "--language", "zh")[0] == 0
    assert '<html lang="zh-Hans">' in (run_folder / "report.html").read_text(encoding="utf-8")
    assert not list(run_folder.glob(".*"))


def test_a_study_by_its_folder_or_by_its_file(report, tmp_path: Path) -> None:
    small_study(seeds=2, inspections=False).save(tmp_path / "study.json")
    (tmp_path / "study.json").rename(tmp_path / "mnist.json")
    assert report(tmp_path / "mnist.json", "--out", tmp_path / "one.html")[0] == 0
    (tmp_path / "mnist.json").rename(tmp_path / "study.json")
    assert report(tmp_path, "--out", tmp_path / "two.html")[0] == 0
    one, two = ((tmp_path / name).read_text(encoding="utf-8") for name in ("one.html", "two.html"))
    assert one == two
    assert "norm=batch and norm=none" in one


def test_of_an_unfinished_study_it_says_how_far_it_is_and_of_another_it_does_not(
    report, tmp_path: Path
) -> None:
    study = small_study(seeds=2, inspections=False)
    study.save(tmp_path / "study.json")
    assert "runs have ended" not in report(tmp_path)[1]
    begun = {"status": "running", "runs": study.runs[:3], "analysis": None}
    study.model_copy(update=begun).save(tmp_path / "study.json")
    said = " ".join(report(tmp_path)[1].split())
    assert f"3 of {len(study.runs)} runs have ended. The command that began the study" in said


def test_data_are_for_a_run(report, tmp_path: Path) -> None:
    small_study(seeds=2, inspections=False).save(tmp_path / "study.json")
    code, _, said = report(tmp_path, "--data", "letters")
    assert (code, said.count("\n")) == (2, 1)
    assert "this is a study, which holds all that its page needs; --data is for a run." in said
    assert not (tmp_path / "report.html").exists()


def test_what_is_not_a_page_of_ours_stays(report, run_folder: Path) -> None:
    mine = run_folder / "mine.html"
    mine.write_text("<p>my own page</p>", encoding="utf-8")
    refused(report(run_folder, "--out", mine), "mine.html", "not a page of Normscope's")
    assert mine.read_text(encoding="utf-8") == "<p>my own page</p>"
    refused(report(run_folder, "--out", run_folder), "this is a folder")


def test_a_failing_disk_leaves_the_old_page(
    report, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(run_folder)
    before = (run_folder / "report.html").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, error = report(run_folder, "--language", "zh")
    assert code == 1
    assert "No space left" in error
    assert (run_folder / "report.html").read_bytes() == before
    assert {path.name for path in run_folder.iterdir()} == {
        "run.json", "inspection.json", "report.html",
    }  # fmt: skip


def test_where_there_is_nothing(report, tmp_path: Path) -> None:
    refused(report(tmp_path), "there is no run and no study here", "normscope train")
    refused(report(tmp_path / "nowhere"), "no such run or study")
    (tmp_path / "study.json").write_text("{}", encoding="utf-8")
    refused(report(tmp_path), "study.json")


def test_the_missing_extra_is_one_sentence(
    report, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "altair" else found(name)
    )
    refused(report(run_folder), 'pip install "normscope[report]"')


def test_nobody_has_looked_yet_and_the_data_are_there(report, tiny_file: Path) -> None:
    arguments = ["--hidden", "12,8", "--epochs", "2", "--batch-size", "20", "--no-inspect"]
    report("--data", tiny_file, *arguments, "--out", "r", "--quiet", command="train")
    assert Inspection.load("r") is None
    code, out, _ = report("r")
    assert code == 0
    assert "Looking inside the network" in out
    assert Inspection.load("r") is not None
    assert "Who is taken for whom" in Path("r/report.html").read_text(encoding="utf-8")


def test_nobody_has_looked_yet_and_the_data_are_gone(report, tiny_file: Path) -> None:
    arguments = ["--hidden", "12,8", "--epochs", "2", "--batch-size", "20", "--no-inspect"]
    report("--data", tiny_file, *arguments, "--out", "r", "--quiet", command="train")
    moved = tiny_file.rename(tiny_file.with_name("moved.npz"))
    code, out, _ = report("r")
    assert code == 0
    assert "note: the page has no inside of the network" in out
    page = Path("r/report.html").read_text(encoding="utf-8")
    assert "could not be looked at" in page
    assert "bars.npz" in page.split("<blockquote")[1]
    assert report("r", "--data", moved)[0] == 0
    assert "could not be looked at" not in Path("r/report.html").read_text(encoding="utf-8")


def test_a_damaged_inspection_is_an_error(report, run_folder: Path) -> None:
    (run_folder / "inspection.json").write_text(json.dumps({"format_version": 9}))
    refused(report(run_folder), "inspection.json", "Delete it")
