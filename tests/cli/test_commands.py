"""The commands as a person types them: what they print, and how they exit."""

import importlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

import normscope
from normscope.cli import _console, main
from normscope.data import Dataset
from normscope.records import Recipe, Run

SMALL = ["--hidden", "12,8", "--epochs", "3", "--batch-size", "20"]


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def normscope_(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run a command in this process."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["normscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
            sys.exit(0)
        captured = capsys.readouterr()
        return Answer(int(stop.value.code or 0), captured.out, captured.err)

    return run


def assert_one_sentence(answer: Answer, code: int, says: str) -> None:
    assert answer.code == code, answer
    lines = answer.err.strip().splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("error: ")
    assert re.search(says, lines[0]), answer.err
    assert "Traceback" not in answer.err + answer.out


def test_version_and_help(normscope_: Callable[..., Answer]) -> None:
    assert normscope_("--version").out.strip() == f"normscope {normscope.__version__}"
    text = normscope_("--help").out
    assert all(command in text for command in ("train", "test", "predict"))


def test_every_recipe_field_is_a_flag(normscope_: Callable[..., Answer]) -> None:
    text = normscope_("train", "--help").out
    for name in Recipe.model_fields:
        assert f"--{name.replace('_', '-')}" in text


def test_flags_reach_the_recipe(tiny_file: Path, normscope_: Callable[..., Answer]) -> None:
    flags = {
        "norm": "layer", "weights": "plain", "eps": 0.001, "decay": 0.5, "average": "cumulative",
        "running_variance": "bessel", "learning_rate": 0.003, "constant_epochs": 2, "seed": 9,
        "device": "cpu", "threads": 1, "valid_fraction": 0.2, "epochs": 7, "batch_size": 33,
        "ghost_size": 11, "clipping": 0.05,
    }  # fmt: skip
    words = [word for k, v in flags.items() for word in (f"--{k.replace('_', '-')}", v)]
    answer = normscope_(
        "train", *words, "--no-warm-up", "--hidden", "5,4", "--data", tiny_file,
        "--write-recipe", "r.toml",
    )  # fmt: skip
    assert answer.code == 0, answer
    expected = Recipe(**flags, hidden=(5, 4), data=str(tiny_file))
    assert Recipe.from_toml(Path("r.toml")) == expected
    own = {"model", "model_options"}  # instead of the network's: below
    tried = set(flags) | {"hidden", "data", "warm_up"} | own
    assert tried == set(Recipe.model_fields), "all are tried"


def test_flags_of_a_model_reach_the_recipe(normscope_: Callable[..., Answer]) -> None:
    answer = normscope_(
        "train", "--model", "mine.models:build", "--write-recipe", "r.toml",
        "--model-options", "depth=3, rate=0.5,deep=true,norm=group",
    )  # fmt: skip
    assert answer.code == 0, answer
    options = {"depth": 3, "rate": 0.5, "deep": True, "norm": "group"}
    expected = Recipe(model="mine.models:build", model_options=options)
    assert Recipe.from_toml(Path("r.toml")) == expected


def test_a_wrong_option_of_a_model_is_one_sentence(normscope_: Callable[..., Answer]) -> None:
    answer = normscope_("train", "--model", "m:f", "--model-options", "depth")
    assert_one_sentence(answer, 2, "--model-options: give names and values.*got 'depth'")


def test_flags_win_over_the_recipe_file(normscope_: Callable[..., Answer]) -> None:
    Path("a.toml").write_text("epochs = 3\nseed = 4\n")
    normscope_("train", "--recipe", "a.toml", "--seed", 5, "--write-recipe", "b.toml")
    assert Recipe.from_toml(Path("b.toml")) == Recipe(epochs=3, seed=5)


def test_a_recipe_is_never_written_over_a_file(normscope_: Callable[..., Answer]) -> None:
    Path("mine.toml").write_text("precious")
    answer = normscope_("train", "--write-recipe", "mine.toml")
    assert_one_sentence(answer, 2, "mine.toml: this file exists")
    assert Path("mine.toml").read_text() == "precious"


def test_train_prints_shapes_epochs_test_and_where_to_go(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_("train", "--data", tiny_file, *SMALL)
    assert answer.code == 0, answer
    assert "train  images (130, 6, 6)  labels (130,)" in answer.out
    assert len(re.findall(r"^ +\d   +\d+\.\d{4}", answer.out, re.MULTILINE)) == 3
    for statistics in ("running", "population", "batch"):
        assert re.search(rf"^{statistics} +\d+\.\d\d %", answer.out, re.MULTILINE)
    assert "not a fair test" in answer.out
    assert "normscope predict runs/bars-batch-1" in answer.out
    assert "normscope report runs/bars-batch-1\n" in answer.out
    assert Run.load(Path("runs/bars-batch-1")).status == "complete"


@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_line_is_wider_than_the_screen_and_no_gap_is_doubled(
    tiny_file: Path, normscope_: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(_console.out, "width", width)
    out = normscope_("train", "--data", tiny_file, *SMALL).out
    out += normscope_("test", "runs/bars-batch-1").out
    lines = [line for line in out.splitlines() if not line.startswith("  normscope ")]
    assert max(map(len, lines)) <= width
    assert "\n\n\n" not in out
    assert "valid acc" in out
    assert ("seconds" in out) is (width >= 80)
    assert len(set(re.findall(r"^(?: *epoch| +\d) .*$", out, re.MULTILINE))) == 4


def test_one_is_one_epoch_and_two_are_two_epochs(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    for epochs, trained in ((1, "1 epoch"), (2, "2 epochs")):
        out = normscope_("train", "--data", tiny_file, *SMALL, "--epochs", epochs).out
        assert re.search(rf"Trained {trained} in \d+\.\d s\. The run", out)
        out = normscope_("test", f"runs/bars-batch-{epochs}").out
        assert f"complete, {epochs} of {trained}; tested on bars.npz, 60 rows" in out


def test_an_error_is_one_line_but_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "The first of many words that do not fit into so narrow a terminal as this one."
    for terminal, lines in ((False, 1), (True, 2)):
        said = io.StringIO()
        narrow = Console(file=said, width=50, force_terminal=terminal, color_system=None)
        monkeypatch.setattr(_console, "_err", narrow)
        _console.say_error(sentence)
        assert len(said.getvalue().splitlines()) == lines
        assert said.getvalue().split() == ["error:", *sentence.split()]


def test_every_run_gets_a_folder_of_its_own(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    for number in (1, 2):
        answer = normscope_("train", "--data", tiny_file, *SMALL, "--quiet")
        assert answer.out.strip() == f"runs/bars-batch-{number}"


def test_json_is_run_json_and_nothing_else(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_("train", "--data", tiny_file, *SMALL, "--json", "--out", "r")
    assert json.loads(answer.out) == json.loads(Path("r/run.json").read_text())
    scores = json.loads(normscope_("test", "r", "--json").out)
    assert scores == json.loads(answer.out)["test"]


@pytest.mark.parametrize(
    "other", [("--epochs", 5), ("--recipe", "a"), ("--out", "b"), ("--write-recipe", "c")]
)
def test_resume_takes_no_other_options(
    normscope_: Callable[..., Answer], other: tuple[str, object]
) -> None:
    assert_one_sentence(normscope_("train", "--resume", "r", *other), 2, f"recipe; {other[0]} can")


def test_divergence_is_a_sentence_and_exits_with_1(
    tiny_file: Path, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_(
        "train", "--data", tiny_file, *SMALL, "--norm", "none", "--lr", "1e38", "-q", "--out", "r"
    )
    assert_one_sentence(answer, 1, "Try a smaller --learning-rate .it was 1e.38.")
    assert Run.load("r").status == "diverged"


@pytest.mark.parametrize("name", ["a[/x]b", "a[red]b:car:", "my run", "ü→"])
def test_names_are_printed_as_they_are_and_as_a_shell_takes_them(
    tiny_file: Path, normscope_: Callable[..., Answer], name: str
) -> None:
    answer = normscope_("train", "--data", tiny_file, *SMALL, "--out", name)
    assert answer.code == 0, answer
    assert f"normscope test {shlex.quote(name)}\n" in answer.out
    assert normscope_("test", name).code == 0
    record = normscope_("train", "--data", tiny_file, *SMALL, "--out", f"{name}2", "--json").out
    assert json.loads(record) == json.loads(Path(f"{name}2", "run.json").read_text())


def test_a_terminal_that_lacks_the_characters_gets_others_like_them(tiny_file: Path) -> None:
    done = in_a_process("train", "--data", tiny_file, *SMALL, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "36 -> 12 -> 8 -> 3" in done.stdout


def test_a_name_that_is_no_text_is_a_sentence() -> None:
    done = in_a_process("train", "--data", "b\udcff.npz")
    assert done.returncode == 2
    assert "not valid UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_does_not_stop_the_training(tiny_file: Path) -> None:
    """`normscope train | head -1`: what is left of the output goes nowhere, the run is saved."""
    command = [sys.executable, "-m", "normscope", "train", "--data", str(tiny_file), *SMALL]
    with subprocess.Popen([*command, "--out", "r"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 0
    assert Run.load("r").status == "complete"


@pytest.mark.parametrize("chained", ["from interruption", "beside it"])
def test_ctrl_c_that_an_import_turned_into_another_error_is_the_same_sentence(
    monkeypatch: pytest.MonkeyPatch, normscope_: Callable[..., Answer], chained: str
) -> None:
    from normscope import training

    def importing(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as interruption:
            if chained == "beside it":
                raise ImportError("half of a library")  # noqa: B904
            raise ImportError("half of a library") from interruption

    monkeypatch.setattr(training, "dataset_of", importing)
    assert_one_sentence(normscope_("train"), 130, "Stopped at once")
    monkeypatch.setattr(training, "dataset_of", lambda *_: importlib.import_module("no_such"))
    with pytest.raises(ModuleNotFoundError):  # the control: a fault of ours keeps its traceback
        main()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_is_full_is_a_sentence(tiny_file: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = in_a_process("train", "--data", tiny_file, *SMALL, stdout=full)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_before_anything_was_trained_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, normscope_: Callable[..., Answer]
) -> None:
    from normscope import training

    monkeypatch.setattr(training, "dataset_of", lambda *_: signal.raise_signal(signal.SIGINT))
    assert_one_sentence(normscope_("train"), 130, "Stopped at once")
    assert not list(Path().iterdir())


def in_a_process(
    *arguments: object, stdout: object = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as a person's shell does."""
    return subprocess.run(
        [sys.executable, "-m", "normscope", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | environment,
    )


def test_an_unfinished_run_is_resumed_by_the_command_that_was_printed(
    tiny_file: Path, normscope_: Callable[..., Answer], tiny: Dataset
) -> None:
    """A real process, a real Ctrl-C, sent when the first epoch's line has been printed."""
    recipe = ["--hidden", "12,8", "--epochs", "80", "--batch-size", "20"]
    command = [sys.executable, "-m", "normscope", "train", "--data", str(tiny_file), *recipe]
    with subprocess.Popen(
        [*command, "--out", "r"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if re.match(r" +1   ", line):
                process.send_signal(signal.SIGINT)
                break
        _, err = process.communicate()
    assert process.returncode == 130, err
    said = re.search(r"Go on with:\n  normscope (.*)", err)
    assert said, err
    assert "error" not in err
    assert normscope_(*said[1].split(), "--quiet").code == 0
    assert normscope_("train", "--data", tiny_file, *recipe, "--out", "whole", "-q").code == 0
    newest = [sorted(Path(r, "checkpoints").iterdir())[-1] for r in ("r", "whole")]
    one, other = [(c / "network.safetensors").read_bytes() for c in newest]
    assert one == other


@pytest.fixture
def trained(tiny_file: Path, normscope_: Callable[..., Answer]) -> Path:
    answer = normscope_(
        "train", "--data", tiny_file, "--hidden", "30,20", "--epochs", 20, "--batch-size", 20,
        "--out", "trained", "-q",
    )  # fmt: skip
    assert answer.code == 0, answer
    return Path("trained")


def picture(path: Path, row: int, *, dark_on_light: bool, size: int = 200) -> Path:
    """A bar on a page: at the top, in the middle or at the bottom."""
    tone = np.zeros((6, 6))
    tone[2 * row] = 1
    tone = tone.repeat(size // 6, 0).repeat(size // 6, 1)
    Image.fromarray((255 * (1 - tone if dark_on_light else tone)).astype(np.uint8)).save(path)
    return path


def test_predict_prints_the_best_letters(trained: Path, normscope_: Callable[..., Answer]) -> None:
    paths = [picture(Path(f"{r}.png"), r, dark_on_light=r == 1) for r in range(3)]
    answer = normscope_("predict", trained, *paths, "--top", 2)
    assert answer.code == 0, answer
    lines = answer.out.strip().splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"\d\.png: \d \d+\.\d %   \d \d+\.\d %", line) for line in lines)
    rows = json.loads(normscope_("predict", trained, *paths, "--json").out)
    for row in rows:
        shares = list(row["probabilities"].values())
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert shares == sorted(shares, reverse=True)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has seen the built-in letters a few times."""
    folder = tmp_path_factory.mktemp("reader") / "run"
    normscope.train(normscope.Recipe(hidden=(200, 100), epochs=4), out=folder)
    return folder


@pytest.mark.parametrize("dark_on_light", [True, False])
@pytest.mark.parametrize("size", [40, 300])
def test_letters_that_a_person_draws_are_read(
    reader: Path, normscope_: Callable[..., Answer], dark_on_light: bool, size: int
) -> None:
    """Pillow's own font, which no one made for us, on pages of any proportions."""
    ink, page = (0, 255) if dark_on_light else (255, 0)
    for letter in "ABCDEFGHIJ":
        image = Image.new("L", (2 * size, size + 30), page)
        font = ImageFont.load_default(size)
        ImageDraw.Draw(image).text((size // 2, 0), letter, fill=ink, font=font)
        image.save(f"{letter}.png")
    answer = normscope_("predict", reader, *[f"{letter}.png" for letter in "ABCDEFGHIJ"])
    right = sum(line[0] == line.split()[1] for line in answer.out.strip().splitlines())
    assert right >= 9, answer.out


def test_the_picture_of_the_readme_is_read(reader: Path, normscope_: Callable[..., Answer]) -> None:
    picture = Path(normscope.__file__).parents[2] / "docs" / "letter.png"
    if not picture.exists():
        pytest.skip("the docs stand in the repository")
    assert re.search(r"letter\.png: G ", normscope_("predict", reader, picture).out)


def test_letters_of_the_test_set_are_read_from_their_own_pictures(
    reader: Path, normscope_: Callable[..., Answer]
) -> None:
    """28 x 28, cropped tightly, in the other polarity: `predict` does as well as `test`."""
    split = normscope.load_data("letters").test
    rows = np.random.default_rng(0).choice(len(split), 100, replace=False)
    for row in rows:
        tone = 255 - np.round(255 * (split.images[row] + 0.5)).astype(np.uint8)
        Image.fromarray(tone).save(f"{row}.png")
    answer = normscope_("predict", reader, *[f"{row}.png" for row in rows])
    read = [line.split()[1] for line in answer.out.strip().splitlines()]
    right = np.mean(
        [r == "ABCDEFGHIJ"[split.labels[row]] for r, row in zip(read, rows, strict=True)]
    )
    tested = json.loads(normscope_("test", reader, "--json").out)["running"]["accuracy"]
    assert 100 * right > tested - 12  # three standard errors of 100 letters


def test_one_bad_picture_is_said_and_the_others_are_answered(
    trained: Path, normscope_: Callable[..., Answer]
) -> None:
    good = picture(Path("good.png"), 0, dark_on_light=False)
    Path("bad.png").write_text("not a picture")
    answer = normscope_("predict", trained, good, "bad.png")
    assert_one_sentence(answer, 2, "bad.png: this is not a picture")
    assert answer.out.startswith("good.png: ")


def test_test_on_data_of_another_kind_is_refused(
    trained: Path, normscope_: Callable[..., Answer]
) -> None:
    answer = normscope_("test", trained, "--data", "letters")
    assert_one_sentence(answer, 2, "28 x 28 in 10 classes.*6 x 6 in 3")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["train", "--data", "nowhere.pickle"], 2, "nowhere.pickle"),
        (["train", "--data", ""], 2, "data has to be text that is not empty"),
        (["train", "--hidden", "1000000,1000000"], 2, "not enough memory"),
        (["train", "--threads", "100000"], 2, "threads has to be 256 or less"),
        (["train", "--seed", "-1"], 2, "seed has to be 0 or more, got -1"),
        (["train", "--resume", "nowhere", "--data", ""], 2, "no run here"),
        (["train", "--epochs", "0"], 2, "epochs"),
        (["train", "--recipe", "nowhere.toml"], 2, "nowhere.toml"),
        (["train", "--hidden", "10,x"], 2, "--hidden"),
        (["train", "--batch-size", "99999999"], 2, "batch_size"),
        (["train", "--out", "/proc/run", "--epochs", "1"], 1, "/proc/run"),
        (["train", "--resume", "nowhere"], 2, "no run here"),
        (["test", "nowhere"], 2, "no run here"),
        (["predict", "nowhere", "x.png"], 2, "no run here"),
        (["train", "--data", "leters"], 2, r"leters does not exist; did you mean letters\?$"),
        (
            ["train", "--epochs", "x"],
            2,
            "--epochs has to be a whole number, got 'x'",
        ),
        (["train", "--lr", "fast"], 2, "--learning-rate has to be a number, got 'fast'"),
        (["train", "--norm", "bach"], 2, "--norm: 'bach' is not one of 'batch', 'none', 'layer'"),
        (["train", "--learnin-rate", "1"], 2, r"no option --learnin-rate; did you mean --learning"),
        (["train", "--zzz"], 2, "no option --zzz. See `normscope train --help`"),
        (["train", "--epochs"], 2, "--epochs. requires an argument"),
        (["train", "extra"], 2, r"unexpected extra argument \(extra\)"),
        (["test"], 2, "RUN is missing. See `normscope test --help`"),
        (["predict", "nowhere"], 2, "IMAGE is missing"),
        (["predict", "nowhere", "x.png", "--top", "0"], 2, "--top has to be 1 or more, got '0'"),
        (["report", "nowhere", "--language", "fr"], 2, "--language: 'fr' is not one of 'en', 'zh'"),
        (["tran"], 2, "No such command 'tran'"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    normscope_: Callable[..., Answer], words: list[str], code: int, says: str
) -> None:
    assert_one_sentence(normscope_(*words), code, says)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--epochs", "x"],
        ["train", "--epochs", "0"],
        ["train", "--norm", "bach"],
        ["predict", "nowhere", "x.png", "--top", "0"],
        ["compare", "--vary", "norm=batch,bach"],
        ["compare", "--vary", "epochs=2,many"],
    ],
)
def test_no_refusal_is_in_the_words_of_a_library(
    normscope_: Callable[..., Answer], words: list[str]
) -> None:
    answer = normscope_(*words)
    assert_one_sentence(answer, 2, "got|not one of")
    assert not re.search("[Ii]nput should|[Vv]alue error|parse|Usage", answer.err)


def test_without_a_command_the_commands_are_shown(normscope_: Callable[..., Answer]) -> None:
    answer = normscope_()
    assert answer.code == 2
    assert "predict" in answer.out + answer.err
    assert "error" not in answer.err


@pytest.mark.parametrize("command", ["train", "predict", "compare"])
@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_screen_of_help_is_wider_than_the_terminal_or_cut_off(command: str, width: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "normscope", command, "--help"],
        env={**os.environ, "COLUMNS": str(width)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert max(len(line) for line in done.stdout.splitlines()) <= width
    assert re.findall(r"\S*…", done.stdout.replace("NAME=VALUE,…", "")) == []
    assert not re.search("<(str|int|float|path)>", done.stdout.split("Options", 1)[1])


def test_a_reader_of_help_who_leaves_is_told_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "normscope", "train", "--help"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as shown:  # fmt: skip
        shown.stdout.close()
        assert shown.stderr.read() == b""
    assert shown.returncode in {0, 1}
