"""`normscope recalibrate` and `normscope fold` as a person types them."""

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import normscope
from normscope.records import Receipt
from tests.cli.test_check import MINE
from tests.cli.test_commands import Answer, assert_one_sentence, normscope_

__all__ = ["normscope_"]  # a fixture

MORE = """
def named(model, batch):
    return model(x=batch[0])

def mixed(model, batch):
    return model.forward(batch[0])

def wide():
    return [(torch.randn(8, 40), torch.zeros(8, dtype=torch.long))]

def extra():
    class Extra(Net):
        def get_extra_state(self):
            return "words"
        def set_extra_state(self, state):
            pass
    return Extra()
"""
DATA = ("--data", "mine:batches")


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of somebody's own in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    Path("mine.py").write_text(MINE + MORE, encoding="utf-8")
    yield
    sys.modules.pop("mine", None)


def test_a_recalibrated_state_dict_is_the_one_of_the_function(
    normscope_: Callable[..., Answer],
) -> None:
    answer = normscope_("recalibrate", "mine:poisoned", *DATA, "--out", "new.safetensors")
    assert answer.code == 0, answer
    assert "1 module changed" in answer.out
    assert "load_state_dict" in answer.out
    import mine

    model = mine.poisoned()
    normscope.recalibrate(model, mine.batches())
    expected, found = model.state_dict(), load_file("new.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert found["norm.running_var"].isfinite().all()


@pytest.mark.parametrize("forward", [None, "mine:forward", "mine:named"])
def test_a_folded_program_answers_as_the_model_for_any_number_of_rows(
    forward: str | None, normscope_: Callable[..., Answer]
) -> None:
    words = ("--forward", forward) if forward else ()
    answer = normscope_("fold", "mine:healthy", *DATA, *words, "--out", "folded.pt2")
    assert answer.code == 0, answer
    import mine

    model, x = mine.healthy().eval(), torch.randn(5, 4)
    program = torch.export.load("folded.pt2").module()
    found = program(x=x) if forward == "mine:named" else program(x)
    torch.testing.assert_close(found, model(x))
    assert not any("running" in name for name in program.state_dict()), "no batch norm is left"


def test_a_folded_program_holds_nobodys_rows(normscope_: Callable[..., Answer]) -> None:
    assert normscope_("fold", "mine:healthy", *DATA, "--out", "folded.pt2").code == 0
    assert not torch.export.load("folded.pt2").example_inputs
    import mine

    needle = mine.batches()[0][0][0].numpy().tobytes()
    with zipfile.ZipFile("folded.pt2") as archive:
        assert not any(needle in archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize("command", ["recalibrate", "fold"])
def test_a_model_that_raises_is_one_sentence(
    command: str, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_(command, "mine:healthy", "--data", "mine:wide")
    assert_one_sentence(answer, 2, "raised RuntimeError")


def test_a_run_folder_is_repaired_and_stays_as_it_is(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    recipe = normscope.Recipe(data=str(tiny_file), hidden=(12,), epochs=2, batch_size=20)
    normscope.train(recipe, out="run")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert normscope_("recalibrate", "run", "--out", "new.safetensors").code == 0
    assert normscope_("fold", "run", "--out", "folded.pt2").code == 0
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    network = normscope.load("run")
    network.load_state_dict(load_file("new.safetensors"))


@pytest.mark.parametrize("command", ["recalibrate", "fold"])
def test_without_a_file_there_is_a_receipt_alone(
    command: str, normscope_: Callable[..., Answer]
) -> None:
    before = set(Path.cwd().iterdir())
    answer = normscope_(command, "mine:healthy", *DATA)
    assert answer.code == 0
    assert "Nothing was written" in answer.out
    assert {path for path in Path.cwd().iterdir() if path.name != "__pycache__"} == before


@pytest.mark.parametrize("command", ["recalibrate", "fold"])
def test_json_is_the_receipt_and_nothing_else(
    command: str, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_(command, "mine:healthy", *DATA, "--format", "json")
    assert Receipt.model_validate_json(answer.out).operation == command
    assert "building" in answer.err


@pytest.mark.parametrize(
    ("command", "file"), [("recalibrate", "new.safetensors"), ("fold", "new.pt2")]
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    command: str, file: str, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_(command, "mine:healthy", *DATA, "--out", f"/proc/{file}")
    assert_one_sentence(answer, 2, f"--out /proc/{file} could not be written")
    assert "building" not in answer.out + answer.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["recalibrate", "mine:healthy"], "recalibrate needs data"),
        (["fold", "mine:healthy"], "fold needs data"),
        (["recalibrate", "mine:healthy", *DATA, "--out", "mine.py"], "end in .safetensors"),
        (["fold", "mine:healthy", *DATA, "--out", "mine.py"], "end in .pt2"),
        (["fold", "mine:healthy", *DATA, "--out", "old.pt2"], "this file exists"),
        (["fold", "mine:healthy", *DATA, "--out", "no/new.pt2"], "there is no folder no"),
        (["fold", "mine:poisoned", *DATA], "nothing can be folded|not finite"),
        (["fold", "mine:healthy", *DATA, "--forward", "mine:mixed"], "arguments of one kind"),
        (["fold", "mine:healthy", *DATA, "--forward", "mine:leaving_forward"], "SystemExit"),
        (["recalibrate", "mine:healthy", "--data", "mine:torn"], "OSError: the disk is gone"),
        (["recalibrate", "mine:extra", *DATA, "--out", "new.safetensors"], "of type str"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    words: list[str], says: str, normscope_: Callable[..., Answer]
) -> None:
    Path("old.pt2").write_text("kept", encoding="utf-8")
    assert_one_sentence(normscope_(*words), 2, says)
    assert Path("old.pt2").read_text(encoding="utf-8") == "kept"
    assert not list(Path().glob("new.*"))


def test_a_saved_program_is_not_repaired(normscope_: Callable[..., Answer]) -> None:
    import mine

    program = torch.export.export(mine.healthy().eval(), (torch.zeros(2, 4),))
    torch.export.save(program, "model.pt2")
    for command in ("recalibrate", "fold"):
        assert_one_sentence(normscope_(command, "model.pt2", *DATA), 2, "a saved program")
