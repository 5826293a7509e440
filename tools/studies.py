"""Train the studies that `docs/does-it-help.md` reports, and print them: `./dev studies`.

With and without batch norm: the article's own settings, five seeds; and shorter trainings on
notMNIST and on MNIST, in both parametrizations, at four or five learning rates, ten seeds each. The
data are found where ``NORMSCOPE_DATA`` points to. The runs go to `studies/` (stopped, the same
command goes on); each study's file, with every raw value, and its picture to `docs/studies/`. Names
of studies train those alone. `./dev studies print` prints what the committed files say, and
`./dev studies paste` draws the pictures and puts the text where README and page have their markers.
"""

import gzip
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from normscope.records import Cell, Comparison, Study

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "docs" / "studies"
DATA = Path(os.environ.get("NORMSCOPE_DATA", ROOT.parent / "shared" / "data"))
SOURCES = {"notMNIST": "notmnist/notMNIST.pickle.gz", "MNIST": "mnist"}


class Conditions(NamedTuple):
    """What a study holds fixed, and the learning rates that it tries.

    Attributes:
        title: of its section.
        data: the data set's name.
        weights: of the recipe.
        epochs: of the recipe; the schedule is the article's: 15 of 100 epochs at the full rate.
        rates: on the article's weights one acts divided by the square root of the fan-in.
        seeds: how many.
    """

    title: str
    data: str
    weights: str
    epochs: int
    rates: tuple[float, ...]
    seeds: int = 10


ARTICLES_RATE = 0.02
SCALED, PLAIN = (0.002, 0.006, 0.02, 0.06), (0.0006, 0.002, 0.006, 0.02)
STUDIES = {
    "article": Conditions(
        "The article's own settings", "notMNIST", "scaled", 100, (ARTICLES_RATE,), seeds=5
    ),
    "notmnist-scaled": Conditions(
        "notMNIST, the article's weights", "notMNIST", "scaled", 10, (*SCALED, 0.2)
    ),
    "notmnist-plain": Conditions("notMNIST, plain weights", "notMNIST", "plain", 10, PLAIN),
    "mnist-scaled": Conditions("MNIST, the article's weights", "MNIST", "scaled", 2, SCALED),
    "mnist-plain": Conditions("MNIST, plain weights", "MNIST", "plain", 2, PLAIN),
}


def train(name: str) -> None:
    """One study, to its end; its file goes to the evidence."""
    import normscope as ns
    from normscope.records import write_atomically

    title, data, weights, epochs, rates, seeds = STUDIES[name]
    source = SOURCES[data]
    # The file names no folder of the machine that it was made on.
    dataset = replace(ns.load_data(DATA / source), name=data, source=source)
    constant = max(1, epochs * 15 // 100)
    recipe = ns.Recipe(weights=weights, epochs=epochs, constant_epochs=constant)
    vary = {"norm": ["batch", "none"]} | ({"learning_rate": rates} if len(rates) > 1 else {})
    print(f"{title} ...", flush=True)
    study = ns.compare(
        vary, recipe, seeds=seeds, data=dataset, out=ROOT / "studies" / name, on_progress=_tell
    )
    EVIDENCE.mkdir(exist_ok=True)
    content = gzip.compress(study.model_dump_json().encode(), mtime=0)
    write_atomically(EVIDENCE / f"{name}.json.gz", content)


def _tell(progress: object) -> None:
    if progress.finished:  # type: ignore[attr-defined]
        print(progress, flush=True)


def committed() -> "dict[str, Study]":
    """The studies whose files are there."""
    from normscope.records import Study

    files = {name: EVIDENCE / f"{name}.json.gz" for name in STUDIES}
    return {name: Study.load(file) for name, file in files.items() if file.exists()}


def page() -> str:
    """What the studies say: all of them in a table, and of each a picture, a table, the verdict."""
    studies = committed()
    return "\n\n".join(
        [summary(studies), *(section(name, study) for name, study in studies.items())]
    )


def summary(studies: "dict[str, Study]") -> str:
    """The studies at a glance: each arm at its own best rate, and both at the article's."""
    heads = ["batch against none", "n", "best rates", "accuracy, points", "steps to the target"]
    heads.append(f"accuracy at {ARTICLES_RATE:g}")
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, study in studies.items():
        own = found(study, "own-best", "test-accuracy")
        cells = [
            f"{STUDIES[name].title}, {STUDIES[name].epochs} epochs",
            str(len(study.design.seeds)),
            f"{own.learning_rate:g} and {own.other_learning_rate:g}",
            _shown(own),
            _shown(found(study, "own-best", "steps-to-target")),
            _shown(found(study, "equal-rate", "test-accuracy", ARTICLES_RATE)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    bold = "**bold** where a difference is concluded (Holm's procedure)"
    return "\n".join([*lines, "", f"95 % intervals over n paired seeds; {bold}."])


def found(study: "Study", question: str, measure: str, rate: float | None = None) -> "Comparison":
    """The one comparison of a kind, at a rate where there are several."""
    assert study.analysis is not None
    (one,) = [
        c
        for c in study.analysis.comparisons
        if (c.question, c.measure) == (question, measure) and rate in (None, c.learning_rate)
    ]
    return one


def _shown(comparison: "Comparison") -> str:
    """An effect with its interval; bold where it is one."""
    from normscope.report._numbers import signed
    from normscope.report._verdict_words import Say, points

    if comparison.measure == "test-accuracy":
        text = f"{signed(comparison.effect.value)} {points(comparison.effect)}"
    else:
        text = "{bound}× {factor}{interval}".format(**Say("en").times(comparison))
    return f"**{text}**" if comparison.conclusion in {"higher", "lower"} else text


def section(name: str, study: "Study") -> str:
    """One study, as Markdown."""
    from normscope.report import verdict

    assert study.analysis is not None
    *found, conditions = verdict(study)
    picture = f"![Test accuracy over the learning rate, by arm](studies/{name}.svg)"
    parts = [
        f"### {STUDIES[name].title}",
        *([picture] if len(study.design.learning_rates) > 1 else []),
        table(study),
        "\n".join(f"- {sentence}" for sentence in found),
        f"{conditions} Every raw value: [`studies/{name}.json.gz`](studies/{name}.json.gz).",
    ]
    return "\n\n".join(parts)


def table(study: "Study") -> str:
    """Test accuracy of every arm at every rate, with its interval; the arm's best in bold."""
    assert study.analysis is not None
    cells = {(cell.arm, cell.learning_rate): cell for cell in study.analysis.cells}
    arms = [arm.name for arm in study.design.arms]
    lines = [
        f"| learning rate | {' | '.join(arms)} |",
        f"| --- | {' | '.join('---' for _ in arms)} |",
    ]
    for rate in study.design.learning_rates:
        shown = [
            _cell(cells[arm, rate], best=study.analysis.best_learning_rates[arm] == rate)
            for arm in arms
        ]
        lines.append(f"| {rate:g} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _cell(cell: "Cell", *, best: bool) -> str:
    mean = cell.test_accuracy
    value = f"**{mean.value:.2f} %**" if best else f"{mean.value:.2f} %"
    diverged = f", {cell.diverged} of {cell.n} diverged" if cell.diverged else ""
    return f"{value} [{mean.low:.2f}, {mean.high:.2f}]{diverged}"


def headline() -> str:
    """What the README says: the verdict on the article's own settings, and all in a table."""
    from normscope.report import verdict

    studies = committed()
    *found, conditions = verdict(next(iter(studies.values())))
    sentences = "\n".join(f"- {sentence}" for sentence in found)
    return f"{sentences}\n\n{conditions}\n\n{summary(studies)}"


def draw(name: str, study: "Study") -> None:
    """The page's own picture of accuracy over the learning rate, as a file that stands alone."""
    from normscope.records import write_atomically
    from normscope.report._standalone import standalone
    from normscope.report._sweep import sweep
    from normscope.report._words import Words

    chart = str(sweep(study, Words("en")).panels[0].wide)
    names = [arm.name for arm in study.design.arms]
    drawn = standalone(chart, title="test accuracy, %", names=names)
    write_atomically(EVIDENCE / f"{name}.svg", drawn.encode())


def paste() -> None:
    """Bring the pictures, the README and the page up to what the committed files say."""
    for name, study in committed().items():
        if len(study.design.learning_rates) > 1:
            draw(name, study)
    for file, marker, text in pasted():
        before, rest = file.read_text(encoding="utf-8").split(f"<!-- {marker} -->")
        after = rest.split(f"<!-- end of {marker} -->")[1]
        whole = f"{before}<!-- {marker} -->\n{text}\n<!-- end of {marker} -->{after}"
        file.write_text(whole, encoding="utf-8")


def pasted() -> "list[tuple[Path, str, str]]":
    """Which file has what text, and between which markers."""
    return [
        (ROOT / "README.md", "does it help", headline()),
        (ROOT / "docs" / "does-it-help.md", "studies", page()),
    ]


def main(words: list[str]) -> int:
    """Train, print or paste."""
    if words == ["print"]:
        print(page())
        return 0
    if words != ["paste"]:
        for name in words or STUDIES:
            train(name)
    paste()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
