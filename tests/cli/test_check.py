"""`normscope check` as a person types it."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

import normscope
from normscope.cli import _console
from normscope.cli._check_display import shown
from normscope.doctor._rules import all_rules
from normscope.records import Diagnosis, Finding
from tests.cli.test_commands import Answer, assert_one_sentence, normscope_

__all__ = ["normscope_"]  # a fixture

MINE = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)
    def forward(self, x):
        return self.head(self.norm(self.linear(x)))

ready = Net()

def healthy():
    print("building")
    torch.manual_seed(0)
    return Net()

def poisoned():
    model = healthy()
    model.norm.running_var[0] = float("nan")
    return model

def biased():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

def batches():
    x = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
    return list(zip(x.split(32), x[:, :3].argmax(1).split(32)))

def endless():
    while True:
        yield from batches()

held = batches()[:2]
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 4)), 16)
one_batch = torch.randn(16, 4)
rows_only = torch.utils.data.TensorDataset(one_batch)
sequence = nn.Sequential(nn.Linear(4, 2))
words, number = "letters", 3

def sequence_of_layers():
    return sequence

def torn():
    yield batches()[0]
    raise OSError("the disk is gone")

def unready():
    raise ValueError("no weights here")

def leaves():
    raise SystemExit(3)

def stops():
    raise KeyboardInterrupt

def stops_between():
    yield batches()[0]
    raise KeyboardInterrupt

def forward(model, batch):
    return model(batch[0])

def wrong_forward(model, batch):
    return model(batch[0], "more")

def leaving_forward(model, batch):
    sys.exit(0)

def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)

def no_optimizer(model):
    return model.missing

def named_otherwise():
    return [{"rows": x, "y": y} for x, y in batches()]

def too_wide():
    return [(torch.randn(8, 40), torch.zeros(8, dtype=torch.long))]

def one_left():
    rows = torch.utils.data.TensorDataset(torch.randn(65, 4))
    return torch.utils.data.DataLoader(rows, batch_size=16)

def dataset():
    import numpy as np
    from normscope.data import Dataset, Split
    x = np.random.default_rng(0).normal(size=(65, 4)).astype(np.float32)
    split = Split(x, x[:, :3].argmax(1))
    return Dataset("mine", "", ("a", "b", "c"), split, split, split)
"""


@pytest.fixture(autouse=True)
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of somebody's own in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mine.py").write_text(MINE, encoding="utf-8")
    yield
    sys.modules.pop("mine", None)


def test_nothing_found(normscope_: Callable[..., Answer]) -> None:
    answer = normscope_("check", "mine:healthy", "--data", "mine:batches")
    assert answer.code == 0, answer
    assert "Net, 1 batch norm, 3 batches, 96 rows" in answer.out
    assert "error" not in answer.out


def test_a_finding_is_named_with_its_fix_and_fails(normscope_: Callable[..., Answer]) -> None:
    answer = normscope_("check", "mine:poisoned")
    assert answer.code == 1
    assert "norm  NS302 nonfinite-stats" in answer.out
    assert "Fix: " in answer.out
    assert "1 error in mine:poisoned (Net, 1 batch norm" in " ".join(answer.out.split())
    assert "(needs data: --data package.module:loader)" in " ".join(answer.out.split())
    assert all(line == line.rstrip() for line in answer.out.splitlines())


@pytest.mark.parametrize(("limit", "code"), [("error", 0), ("warning", 0), ("info", 1)])
def test_what_fails_is_a_choice(limit: str, code: int, normscope_: Callable[..., Answer]) -> None:
    answer = normscope_("check", "mine:biased", "--fail-on", limit)
    assert answer.code == code
    assert "NS201" in answer.out


def test_what_is_on_purpose_is_told_and_does_not_fail(normscope_: Callable[..., Answer]) -> None:
    answer = normscope_("check", "mine:poisoned", "--suppress", "NS302:norm=made = so")
    assert answer.code == 0
    assert "suppressed: NS302 nonfinite-stats in norm: made = so" in answer.out


@pytest.mark.parametrize(
    "words",
    [
        ["mine:ready"],
        ["mine:ready", "--data", "mine:endless", "--batches", "2"],
        ["mine:ready", "--data", "mine:batches", "--forward", "mine:forward"],
        ["mine:ready", "--data", "mine:batches", "--optimizer", "mine:optimizer"],
        ["mine:ready", "--data", "mine:dataset"],
    ],
    ids=" ".join,
)
def test_what_can_be_looked_at(words: list[str], normscope_: Callable[..., Answer]) -> None:
    answer = normscope_("check", *words)
    assert answer.code == 0, answer
    assert not answer.err


def test_a_run_folder_is_seen_on_its_own_data(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    recipe = normscope.Recipe(data=str(tiny_file), hidden=(12,), epochs=2, batch_size=20)
    normscope.train(recipe, out="run")
    answer = normscope_("check", "run")
    assert answer.code in {0, 1}, answer
    assert " batches, " in answer.out
    moved = Path("moved.npz")
    tiny_file.rename(moved)
    assert normscope_("check", "run").code == 2
    assert " batches, " in normscope_("check", "run", "--data", moved).out


# --- saved programs ---


def a_model() -> torch.nn.Module:
    import mine

    return mine.poisoned().eval()


def save_exported(path: Path) -> None:
    rows = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(a_model(), (torch.zeros(2, 4),), dynamic_shapes=rows)
    torch.export.save(program, path)


def save_traced(path: Path) -> None:
    torch.jit.trace(a_model(), torch.zeros(2, 4)).save(str(path))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("save", [save_exported, save_traced])
def test_a_saved_program_is_looked_at(
    save: Callable[[Path], None], normscope_: Callable[..., Answer]
) -> None:
    sys.path.insert(0, "")
    file = Path("program.pt2")  # the content decides, not the name
    save(file)
    answer = normscope_("check", file)
    assert answer.code == 1
    assert "norm  NS302" in answer.out
    answer = normscope_("check", file, "--data", "mine:batches")
    assert answer.code == 1
    assert "3 batches, 96 rows" in answer.out


class Trap:
    """Whoever unpickles it makes a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("sprung"),)


def test_no_pickle_is_executed(normscope_: Callable[..., Answer]) -> None:
    Path("plain.pkl").write_bytes(pickle.dumps(Trap()))
    torch.save(Trap(), "module.pt")
    for file in ("plain.pkl", "module.pt"):
        answer = normscope_("check", file)
        assert_one_sentence(answer, 2, "this is a pickle: .* execute its code")
    assert not Path("sprung").exists()
    torch.load("module.pt", weights_only=False)
    assert Path("sprung").exists(), "the control: it is a trap"


def test_a_state_dict_is_no_model(normscope_: Callable[..., Answer]) -> None:
    save_file({"w": torch.zeros(2)}, "weights.safetensors")
    torch.save({"w": torch.zeros(2)}, "weights.pt")
    for file in ("weights.safetensors", "weights.pt"):
        assert_one_sentence(normscope_("check", file), 2, "a state dict")


@pytest.mark.parametrize("name", ["held", "loader"])
def test_batches_that_a_name_stands_for_are_looked_at(
    name: str, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_("check", "mine:ready", "--data", f"mine:{name}")
    assert answer.code == 0
    assert f"{2 if name == 'held' else 4} batches" in " ".join(answer.out.split())


# --- what is wrong on the command line, and in somebody's code ---


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mine:healhty"], "has no healhty; did you mean healthy"),
        (["mine.healthy"], "a function is named with a colon: mine:healthy"),
        (["mine.py:healthy"], "a function is named with dots: mine:healthy"),
        (["mine.py"], "neither a program of torch.export"),
        (["nowhere"], "no such run folder or file"),
        (["."], "no run"),
        (["mine:batches"], "type list; it has to return a torch.nn.Module"),
        (["mine:unready"], r"raised ValueError: no weights here \(mine.py, line \d+\)"),
        (["mine:leaves"], r"raised SystemExit: 3 \(mine.py, line \d+\)"),
        (["mine:ready", "--data", "mine:unready"], "raised ValueError: no weights here"),
        (["mine:ready", "--data", "mine:torn"], r"raised OSError: the disk is gone \(mine.py, li"),
        (["mine:ready", "--data", "letters"], "name a function that returns batches"),
        (["mine:ready", "--data", "mine:healthy"], "type Net; name a function that returns bat"),
        (["mine:ready", "--data", "mine:number"], "mine:number is of type int; name a function"),
        (["mine:ready", "--data", "mine:words"], "mine:words is of type str; name a function"),
        (["mine:ready", "--data", "mine:one_batch"], "mine:one_batch is of type Tensor; name"),
        (["mine:ready", "--data", "mine:rows_only"], "mine:rows_only is of type TensorDataset"),
        (["mine:ready", "--data", "mine:sequence"], "mine:sequence is of type Sequential"),
        (
            ["mine:ready", "--data", "mine:sequence_of_layers"],
            "mine:sequence_of_layers returned something of type Sequential",
        ),
        (["mine:ready", "--forward", "forward"], "name a function, as package.module:function"),
        (
            ["mine:ready", "--data", "mine:batches", "--forward", "mine:wrong_forward"],
            r"raised TypeError: .* \(mine.py, line \d+\)",
        ),
        (
            ["mine:ready", "--data", "mine:batches", "--forward", "mine:leaving_forward"],
            r"raised SystemExit: 0 \(mine.py, line \d+\)",
        ),
        (["mine:ready", "--optimizer", "mine:no_optimizer"], r"raised AttributeError: .*mine.py"),
        (["mine:ready", "--optimizer", "mine:forward"], "raised TypeError"),
        (["mine:ready", "--optimizer", "builtins:id"], "has to return a torch.optim.Optimizer"),
        (["mine:ready", "--suppress", "NS302"], "has no reason"),
        (["mine:ready", "--suppress", "NS999=so"], "names no rule"),
        (["mine:ready", "--out", "no/such/file"], "there is no folder"),
        (["mine:ready", "--format", "xml"], "--format"),
        ([], "TARGET is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence(
    words: list[str], says: str, normscope_: Callable[..., Answer]
) -> None:
    assert_one_sentence(normscope_("check", *words), 2, says)


def test_ctrl_c_in_somebodys_code_is_ctrl_c(normscope_: Callable[..., Answer]) -> None:
    assert_one_sentence(normscope_("check", "mine:stops"), 130, "Stopped at once; no file is half")
    data = ("--data", "mine:stops_between")
    assert_one_sentence(normscope_("check", "mine:ready", *data), 130, "Stopped at once")


# --- what a program reads ---


def test_json_is_the_diagnosis_and_nothing_else(normscope_: Callable[..., Answer]) -> None:
    answer = normscope_("check", "mine:poisoned", "--format", "json")
    assert answer.code == 1
    assert Diagnosis.model_validate_json(answer.out).of("NS302")
    assert "building" in answer.err, "what somebody's code prints is kept out of it"


def test_sarif_names_the_file_of_the_class(normscope_: Callable[..., Answer]) -> None:
    run = json.loads(normscope_("check", "mine:poisoned", "--format", "sarif").out)["runs"][0]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "mine.py", "uriBaseId": "%SRCROOT%"}
    assert MINE.splitlines()[place["region"]["startLine"] - 1] == "class Net(nn.Module):"


def test_with_a_file_the_table_is_printed_as_well(normscope_: Callable[..., Answer]) -> None:
    words = ("check", "mine:poisoned", "--format", "json", "--out", "found.json")
    answer = normscope_(*words)
    assert answer.code == 1
    assert "NS302" in answer.out
    assert "Wrote found.json." in answer.out
    assert Diagnosis.model_validate_json(Path("found.json").read_text(encoding="utf-8")).findings
    assert normscope_(*words).code == 1, "a later check takes the place of an earlier one"


@pytest.mark.parametrize("place", ["/proc/found.json", "no/such/found.json", "."])
def test_a_file_that_cannot_be_written_is_refused_before_the_model_is_built(
    place: str, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_("check", "mine:poisoned", "--out", place)
    assert_one_sentence(answer, 2, f"--out {re.escape(place)}.*(written|folder)")
    assert "building" not in answer.out


def test_a_check_that_fails_leaves_an_earlier_file_as_it_was(
    normscope_: Callable[..., Answer],
) -> None:
    Path("found.json").write_text("old", encoding="utf-8")
    answer = normscope_("check", "mine:unready", "--out", "found.json")
    assert answer.code == 2
    assert "building" not in answer.out
    assert Path("found.json").read_text(encoding="utf-8") == "old"
    assert not list(Path.cwd().glob(".found*")), "nor does a trial stay"


def test_a_table_in_a_file_is_plain_text(normscope_: Callable[..., Answer]) -> None:
    normscope_("check", "mine:poisoned", "--out", "found.txt")
    text = Path("found.txt").read_text(encoding="utf-8")
    assert "NS302" in text
    assert "\x1b" not in text


def test_what_had_no_effect_is_told_in_the_words_of_the_command_line(
    normscope_: Callable[..., Answer],
) -> None:
    answer = normscope_("check", "mine:healthy", "--suppress", "NS302:nope=why")
    told = " ".join(answer.out.split())
    assert "Note: --suppress: 'NS302:nope' suppressed nothing: Net has no module" in told


def test_errors_name_options_and_not_arguments_of_python(
    normscope_: Callable[..., Answer],
) -> None:
    for command in ("check", "recalibrate", "fold"):
        answer = normscope_(command, "mine:healthy", "--data", "mine:named_otherwise")
        assert_one_sentence(answer, 2, "--forward package.module:function")
        assert "forward=" not in answer.err
    answer = normscope_("check", "mine:healthy", "--data", "mine:too_wide")
    assert_one_sentence(answer, 2, "raised RuntimeError.*--forward package.module:function")


def test_the_settings_of_a_loader_are_seen_through_the_command_line(
    normscope_: Callable[..., Answer],
) -> None:
    """A last batch of one row, which arithmetic finds and no batch that is looked at."""
    answer = normscope_("check", "mine:healthy", "--data", "mine:one_left", "--batches", "2")
    assert "NS402" in answer.out


def test_a_terminal_shows_what_goes_on_and_a_file_is_spared(
    monkeypatch: pytest.MonkeyPatch, normscope_: Callable[..., Answer]
) -> None:
    said: list[str] = []
    monkeypatch.setattr(_console.Work, "say", lambda self, what: said.append(what))
    assert not normscope_("check", "mine:healthy", "--data", "mine:batches").err
    assert said[1:] == [
        "check: looking at mine:healthy", "batch 1 of 3", "batch 2 of 3", "batch 3 of 3",
        "comparing",
    ]  # fmt: skip
    monkeypatch.undo()
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(_console, "_err", console)
    with _console.working("looking"):
        pass
    assert "looking" in screen.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("words", [["check", "mine:poisoned"], ["check", "--explain", "NS302"]])
def test_an_output_that_is_full_is_no_finding(words: list[str]) -> None:
    command = [sys.executable, "-m", "normscope", *words]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=100
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_terminal_of_plain_letters_gets_plain_letters() -> None:
    for words in (
        ["check", "mine:biased", "--data", "mine:batches"],
        ["check", "--explain", "nan"],
    ):
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        ended = subprocess.run(
            [sys.executable, "-m", "normscope", *words],
            capture_output=True, check=False, timeout=100, env={**os.environ, **plain},
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert "?" not in ended.stdout.decode("ascii").replace("Is it so?", "")
        assert not ended.stderr


def test_every_character_that_is_not_ascii_in_a_rule_has_one_like_it() -> None:
    for rule in all_rules():
        lacking = {each for each in rule.page if ord(each) > 127} - set(_console._NEAREST)
        assert not lacking, f"{rule.code}: {lacking}"


# --- pages ---


def test_a_rules_page_is_printed(normscope_: Callable[..., Answer]) -> None:
    for name in ("NS302", "nonfinite-stats"):
        answer = normscope_("check", "--explain", name)
        assert answer.code == 0
        assert answer.out.startswith("# NS302: nonfinite-stats")


def test_on_a_terminal_the_page_is_set(
    monkeypatch: pytest.MonkeyPatch, normscope_: Callable[..., Answer]
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(_console, "out", console)
    normscope_("check", "--explain", "NS302")
    assert "NS302" in screen.getvalue()
    assert "## Fix" not in screen.getvalue()


def test_a_symptom_finds_rules_and_an_unknown_code_the_nearest(
    normscope_: Callable[..., Answer],
) -> None:
    assert ". **NS302**" in normscope_("check", "--explain", "nan in eval").out
    assert_one_sentence(normscope_("check", "--explain", "NS392"), 2, "The nearest is NS")


# --- how it looks ---


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_is_cut_off_at_any_width(width: int) -> None:
    path = "backbone." + "layer4.2." * 8 + "bn3"
    found = Finding(
        code="NS302", rule="nonfinite-stats", severity="warning", module=path,
        message="The running variance is off by 3.5 deviations.", fix="normscope.recalibrate(m)",
        evidence={"rows": 12800, "accuracy, running": 0.31251, "cause": "stale"},
    )  # fmt: skip
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=True, color_system=None)
    console.print(shown(Diagnosis(model="Net", findings=(found,)), "mine:network"))
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    together = "".join("".join(line.split()) for line in lines)
    for text in (path, found.message, found.fix, "rows: 12,800", "0.3125", "1 warning in"):
        assert "".join(text.split()) in together
