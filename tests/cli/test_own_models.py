"""A model and data of somebody's own, end to end: the page about them, as a reader follows it."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import normscope
from normscope.records import Inspection, Run, Study
from tests.cli.test_commands import Answer, assert_one_sentence, normscope_

__all__ = ["normscope_"]  # a fixture

PAGE = Path(normscope.__file__).parents[2] / "docs" / "own-models.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the docs stand in the repository")

FEW = {"--epochs": "1", "--constant-epochs": "1", "--seeds": "2"}
"""What the page's commands are shortened by."""


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The page's commands, without the program, and short."""
    lines = [shlex.split(line)[1:] for line in blocks("sh")[0].splitlines()]
    for words in lines:
        for flag in FEW.keys() & set(words):
            words[words.index(flag) + 1] = FEW[flag]
    return lines


@pytest.fixture
def _shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's module, with fewer rows, in the current folder."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = blocks("python")[0].replace("1200", "120").replace("400", "80")
    Path("shapes.py").write_text(module, encoding="utf-8")
    yield
    for name in ("shapes", "faulty"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("_shapes")
def test_what_the_page_says_works(normscope_: Callable[..., Answer]) -> None:
    pytest.importorskip("vl_convert")
    for words in commands():
        answer = normscope_(*words)
        assert answer.code == 0, answer
        assert not answer.err
    run, seen = Run.load("runs/shapes-network-1"), Inspection.load("runs/shapes-network-1")
    assert (run.data.image_size, run.data.classes[1]) == ((3, 16, 16), "disc")
    assert Run.load("runs/shapes-network-2").recipe.model_options == {"width": 16}
    assert [len(layer.population_mean) for layer in seen.layers] == [8, 16]
    assert len(seen.history.layers) == 2
    assert not seen.knows_every_layer
    page = Path("runs/shapes-network-1/report.html").read_text(encoding="utf-8")
    assert "a model of somebody" in page, "why there is no diagram"
    assert "One letter on its way" not in page
    assert page.count("data:image/png") == len(seen.mistakes) > 0
    assert "batch norm 2, s3" in page
    assert "logits" not in page
    assert "running_variance" not in page, "a field of the built-in network"
    study = Study.load("studies/shapes-norm-learning-rate")
    assert study.status == "complete"
    assert len(study.runs) == 2 * 2 * int(FEW["--seeds"])
    page = Path("studies/shapes-norm-learning-rate/report.html").read_text(encoding="utf-8")
    assert "the model shapes:network" in page
    assert "no batch norm in it tracks statistics" in page, "of the arm without"
    Image.new("L", (30, 30), 255).save("letter.png")
    answer = normscope_("predict", "runs/shapes-network-1", "letter.png")
    assert_one_sentence(answer, 2, "shape 3 x 16 x 16; only grey pictures can be read from files")


@pytest.mark.slow
@pytest.mark.usefixtures("_shapes")
def test_what_the_page_says_in_python_works() -> None:
    exec(compile(blocks("python")[1], PAGE.name, "exec"), {})
    assert len(Study.load("studies/mine").runs) == 8


FAULTY = """
import numpy as np
from torch import nn

def raising(norm, classes):
    raise OSError("no such weights")

def narrow(norm, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes - 1))

def elsewhere(norm, classes):
    return nn.Linear(99, classes)

def without_norm(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, classes))

def data():
    rows = np.random.default_rng(0).normal(size=(60, 3, 2, 2)), np.arange(60) % 3
    return rows, rows

def too_few():
    return [data()[0]]
"""


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        ("raising", "data", r"faulty:raising\(norm=.* raised OSError: no such weights \(fau"),
        ("narrow", "data", r"into something of shape \[2, 2\]; it has to return logits of shape"),
        ("elsewhere", "data", r"cannot take inputs of shape \[2, 3, 2, 2\]; it raised Runtime"),
        ("without_norm", "data", "norm is none, but .*has no parameter of that name"),
        ("with_norm", "data", "has no with_norm; did you mean without_norm"),
        ("without_norm", "too_few", "faulty:too_few is a list of 1; return a normscope Dataset"),
        (None, "data", "there is no module absent, neither in this folder"),
    ],
)
@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.usefixtures("_shapes")
def test_what_cannot_work_is_one_sentence_and_writes_nothing(
    normscope_: Callable[..., Answer], command: str, model: str | None, data: str, says: str
) -> None:
    Path("faulty.py").write_text(FAULTY, encoding="utf-8")
    named = f"faulty:{model}" if model else "absent:network"
    norms = {"train": ["--norm", "none"], "compare": ["--vary", "norm=batch,none"]}
    words = ["--model", named, "--data", f"faulty:{data}", "--batch-size", 10, *norms[command]]
    answer = normscope_(command, *words, "--epochs", 1, "--quiet")
    assert_one_sentence(answer, 2, says)
    shutil.rmtree("__pycache__", ignore_errors=True)
    assert {path.name for path in Path().iterdir()} == {"faulty.py", "shapes.py"}
