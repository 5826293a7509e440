"""Train the studies of `docs/why-batch-norm-works.md`, and print what they found: `./dev why`.

On notMNIST and on MNIST: every arm of `normscope explain`, at three learning rates, with ten paired
seeds. The data are found where ``NORMSCOPE_DATA`` points to. The runs go to `studies/` (stopped,
the same command goes on); what follows from them to `docs/evidence/`: the study with every raw
value, the evidence, and the figures that pictures are drawn from. Names of studies train those
alone. `./dev why print` prints what the committed files say, and `./dev why paste` draws the
pictures and puts the text into the page.
"""

import gzip
import os
import re
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from normscope.data import Dataset, Split
    from normscope.records import EvidenceTable, Recipe, Study
    from normscope.records._evidence_pictures import EvidencePictures
    from normscope.report._parts import Claim, Figure

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "docs" / "evidence"
PAGE, README = ROOT / "docs" / "why-batch-norm-works.md", ROOT / "README.md"
PLAIN = Path(__file__).with_name("why.toml")
DATA = Path(os.environ.get("NORMSCOPE_DATA", ROOT.parent / "shared" / "data"))


class Conditions(NamedTuple):
    """What a study holds fixed.

    Attributes:
        data: the data set's name.
        source: where it is, under the folder of the data.
        epochs: of the recipe; the rate is constant in the first two, then falls linearly. About
            as many steps in every study.
        share: of the training and of the validation rows, the first of so many equal parts.
    """

    data: str
    source: str
    epochs: int
    share: int = 1

    def dataset(self) -> "Dataset":
        """What the networks see. The files that come of it name no folder of this machine."""
        import normscope as ns

        dataset = ns.load_data(DATA / self.source)
        train, valid = (_first(split, self.share) for split in (dataset.train, dataset.valid))
        return replace(dataset, name=self.data, source=self.source, train=train, valid=valid)


def _first(split: "Split", share: int) -> "Split":
    rows = len(split) // share
    return replace(split, images=split.images[:rows], labels=split.labels[:rows])


STUDIES = {
    "notmnist": Conditions("notMNIST", "notmnist/notMNIST.pickle.gz", 4),
    "mnist": Conditions("MNIST", "mnist", 4, share=4),
    "mnist-one-epoch": Conditions("MNIST in one epoch", "mnist", 1),
}
RATES = (0.002, 0.02, 0.2)
SEEDS = 10

VERDICTS = ("contradicted", "survives", "open")
HEADS = {
    "contradicted": "Contradicted",
    "survives": "Survived",
    "open": "Not decided",
}
PICTURES = {
    "drift": "Drift of what layers hand on, over the training",
    "smoothness": "Smoothness along the gradient, over the training",
    "angles": "The angle that weights turn by in a step",
    "rank": "The stable rank, layer by layer, before the first step",
    "dose": "Test accuracy over the rows that statistics are taken over",
}
"""The predictions whose pictures the page shows."""


# --- training ---


def train(name: str) -> None:
    """One study, to its end; what follows from it goes to the evidence."""
    import normscope as ns
    from normscope.records import Study, write_atomically
    from normscope.studies._explain_arms import ARMS

    conditions = STUDIES[name]
    folder, evidence = ROOT / "studies" / f"why-{name}", EVIDENCE / name
    print(f"{conditions.data} ...", flush=True)
    ns.explain(
        ns.Recipe(epochs=conditions.epochs, constant_epochs=1),
        data=conditions.dataset(),
        out=folder,
        arms=[arm.key for arm in ARMS],
        learning_rates=RATES,
        seeds=SEEDS,
        on_progress=_tell,
    )
    evidence.mkdir(parents=True, exist_ok=True)
    for file in ("evidence.json", "evidence-pictures.json"):
        shutil.copyfile(folder / file, evidence / file)
    study = Study.load(folder).model_dump_json().encode()
    write_atomically(evidence / "study.json.gz", gzip.compress(study, mtime=0))


def _tell(progress: object) -> None:
    if progress.finished:  # type: ignore[attr-defined]
        print(progress, flush=True)


# --- what the files say ---


@dataclass(frozen=True, eq=False)
class Found:
    """One study's files."""

    conditions: Conditions
    study: "Study"
    table: "EvidenceTable"
    pictures: "EvidencePictures"

    @cached_property
    def claims(self) -> "dict[str, tuple[str, Claim]]":
        """Every row in words, with the explanation that it follows from, by the row's key."""
        from normscope.report._evidence_rows import claims
        from normscope.report._words import Words

        groups = claims(self.table, lambda _: (), Words("en"))
        return {
            claim.name.removeprefix("row-"): (explanation.text, claim)
            for explanation, rows in groups
            for claim in rows
        }


def committed() -> dict[str, Found]:
    """The studies whose files are there."""
    from normscope.records import EvidenceTable, Study
    from normscope.records._evidence_pictures import EvidencePictures

    found = {}
    for name, conditions in STUDIES.items():
        folder = EVIDENCE / name
        if (folder / "evidence.json").exists():
            pictures = EvidencePictures.load(folder)
            assert pictures, "they are written together"
            study = Study.load(folder / "study.json.gz")
            found[name] = Found(conditions, study, EvidenceTable.load(folder), pictures)
    return found


# --- the page ---


def page() -> str:
    """How many of each; then every prediction, those that went wrong first; pictures; conditions.

    A prediction stands where the first study has it: the others' verdicts are beside it.
    """
    found = committed()
    if not found:
        return "No study has been trained yet."
    rows = {name: each.claims for name, each in found.items()}
    placed = _placed(rows)
    parts = [counts(found)]
    for verdict in VERDICTS:
        keys = [key for key, where in placed.items() if where == verdict]
        if keys:
            parts += [f"### {HEADS[verdict]}", _table(keys, found, rows)]
    parts += ["## Pictures", *(_pictures(name, each) for name, each in found.items())]
    parts += ["## The arms", *(_arms(each) for each in found.values())]
    parts += ["## Conditions", *(_conditions(name, each) for name, each in found.items())]
    return "\n\n".join(parts)


def take_home() -> str:
    """What it comes to, in plain words: `why.toml`, where its verdicts came out, with figures."""
    found = committed()
    texts = (_paragraph(each, found) for each in tomllib.loads(PLAIN.read_text())["paragraph"])
    return "\n\n".join(text for text in texts if text)


def _paragraph(each: dict[str, Any], found: dict[str, Found]) -> str:
    """One paragraph with the figures of the studies that it is true of; nothing without any."""
    about = {name: one for name, one in found.items() if name in each.get("studies", found)}
    where = [one for one in about.values() if _came_out(each["verdicts"], one)]
    if not where:
        return ""
    text = re.sub(r"{([^{}]+)}", lambda name: _figures(name[1], where), each["text"].strip())
    others = [_against(each["verdicts"], one) for one in found.values() if one not in where]
    if others and not any(others):
        others = [f"(Of {' and '.join(one.conditions.data for one in where)} alone.)"]
    return " ".join([f"**{each['title']}** {' '.join(text.split())}", *filter(None, others)])


def _against(verdicts: dict[str, str], found: Found) -> str:
    """What is to be said of a study in which a row came out the other way."""
    judged = {row.key: row.judgement for row in found.table.rows}
    decided = {"survives", "contradicted"}
    against = [k for k, v in verdicts.items() if judged[k] != v and {judged[k], v} <= decided]
    if against:
        told = ", ".join(f"`{key}` {judged[key]}" for key in against)
        return f"(Not so on {found.conditions.data}: {told}.)"
    return ""


def _came_out(verdicts: dict[str, str], found: Found) -> bool:
    """Whether every row was judged so."""
    judged = {row.key: row.judgement for row in found.table.rows}
    return all(judged[key] == verdict for key, verdict in verdicts.items())


def _figures(name: str, where: Sequence[Found]) -> str:
    """A figure; of several studies, each with its study's name, unless it is the same in all."""
    figures = [_figure(name, one) for one in where]
    if len(set(figures)) == 1:
        return figures[0]
    *others, last = [
        f"{figure} on {one.conditions.data}" for figure, one in zip(figures, where, strict=True)
    ]
    return f"{', '.join(others)} and {last}"


def _figure(name: str, found: Found) -> str:
    """What a name in braces stands for; `why.toml` has the list."""
    from normscope.report._evidence_rows import measured
    from normscope.report._words import Words

    kind, _, of = name.partition(":")
    rows = {row.key: row for row in found.table.rows}
    if kind == "percent":
        return f"{rows[of].effect.value:.2f} %"
    if kind == "end-gain":
        return _premise([p for row in rows.values() for p in row.premises if p.key == kind], "")
    if kind == "read":
        return f"{100 * _median_of(*of.split(':'), found):.2g} %"
    if of:
        return _of_an_arm(kind, of, found)
    return measured(rows[name], Words("en"))


def _of_an_arm(kind: str, arm: str, found: Found) -> str:
    """The best rate, or whether it is the last one, or a mean over seeds in percent."""
    smallest = min(found.table.learning_rates)
    arms = {each.key: each for each in found.table.arms}
    best = arms[arm].best_learning_rate
    if kind == "rate":
        return f"{best:g}"
    if kind == "edge":
        return f"of {best:g}, {'the last' if arms[arm].at_the_edge else 'not the last'} of the grid"
    rate = smallest if kind.startswith("low-") else best
    if kind.startswith("none-"):
        rate = arms["none"].best_learning_rate
    (numbers,) = (
        each for each in found.pictures.numbers if (each.arm, each.learning_rate) == (arm, rate)
    )
    measures = {"L": numbers.learned, "E": numbers.early, "A": numbers.ended}
    return f"{fmean(measures[kind[-1]]):.2f} %"


def _median_of(quantity: str, arm: str, found: Found) -> float:
    """Over the training, at the rate that is best without a norm."""
    (rate,) = (each.best_learning_rate for each in found.table.arms if each.key == "none")
    (line,) = (
        each
        for each in found.pictures.lines
        if (each.quantity, each.over, each.arm) == (quantity, "steps", arm)
        and each.learning_rate == rate
    )
    return median(line.middle)


def in_short() -> str:
    """One sentence for the README."""
    told = []
    for found in committed().values():
        judged = Counter(row.judgement for row in found.table.rows)
        told.append(
            f"on {found.conditions.data} {judged['survives']} of {judged.total()} predictions "
            f"survive, {judged['contradicted']} are contradicted and {judged['not decided']} not "
            "decided"
        )
    return (
        f"What came of it, in short trainings with ten seeds: {'; '.join(told)} "
        "([what we measured](docs/why-batch-norm-works.md))."
    )


def counts(found: dict[str, Found]) -> str:
    """How many predictions came to what, study by study."""
    judgements = ("contradicted", "survives", "not decided")
    lines = _head("study", *judgements, "batch norm learns faster", "and ends more accurate")
    for each in found.values():
        rows = {row.key: row for row in each.table.rows}
        number = [str(sum(r.judgement == j for r in rows.values())) for j in judgements]
        claims = {key: claim for key, (_, claim) in each.claims.items()}
        gain = claims["gain"]
        ends = [p for row in rows.values() for p in row.premises if p.key == "end-gain"]
        told = [f"{gain.judgement}: {gain.measured}", _premise(ends)]
        lines.append(_line([each.conditions.data, *number, *told]))
    return "\n".join(lines)


def _premise(premises: Sequence[object], holds: str = "yes: ") -> str:
    """A premise's number with its interval, after the word for that it holds."""
    from normscope.report._numbers import interval, signed

    if not premises:
        return "–"
    effect = premises[0].effect  # type: ignore[attr-defined]
    around = interval(effect, signed)
    found = holds if premises[0].holds else "not found: "  # type: ignore[attr-defined]
    return f"{found}{signed(effect.value)} points {around}"


def _placed(rows: "dict[str, dict[str, tuple[str, Claim]]]") -> dict[str, str]:
    """For every prediction the heading: contradicted anywhere, survived anywhere, or neither."""
    keys = dict.fromkeys(key for each in rows.values() for key in each)
    verdicts = {
        key: {each[key][1].verdict for each in rows.values() if key in each} for key in keys
    }
    return {key: next(v for v in VERDICTS if v in some) for key, some in verdicts.items()}


def _table(
    keys: Iterable[str],
    found: dict[str, Found],
    rows: "dict[str, dict[str, tuple[str, Claim]]]",
) -> str:
    """Predictions in words, and what each study measured."""
    lines = _head("explanation", "prediction", *(each.conditions.data for each in found.values()))
    for key in keys:
        explanation, claim = next(each[key] for each in rows.values() if key in each)
        cells = [_measured(rows[name][key][1], found[name], key) for name in found]
        says = f"{claim.says.text} ({claim.source.text}) `{key}`"
        lines.append(_line([explanation, says, *cells]))
    return "\n".join(lines)


def _measured(claim: "Claim", found: Found, key: str) -> str:
    """The verdict, the figure with its interval and n, the threshold; why it is not decided."""
    from normscope.report._evidence_rows import region

    (row,) = (row for row in found.table.rows if row.key == key)
    figure = f"x = {row.formula} = {claim.measured}, n = {row.effect.n}"
    why = f" {claim.why.text}." if claim.why else ""
    return f"**{claim.judgement}**: {figure}; predicted {region(*row.predicted)}.{why}"


def _pictures(name: str, found: Found) -> str:
    """Of the predictions that have one."""
    lines = [f"### {found.conditions.data}"]
    for key, title in PICTURES.items():
        if drawings(key, found):
            lines.append(f"**{title}** (`{key}`)")
            names = (
                f"evidence/{name}/{key}-{at + 1}.svg" for at in range(len(drawings(key, found)))
            )
            lines.append(" ".join(f"![{title}]({file})" for file in names))
    return "\n\n".join(lines)


@cache
def drawings(key: str, found: Found) -> "list[tuple[str, list[str], str]]":
    """Title, names of arms, and drawing of every panel of a prediction's last figure."""
    from normscope.report._evidence_figures import figures
    from normscope.report._evidence_shown import Shown
    from normscope.report._parts import Figure
    from normscope.report._words import Words

    shown = Shown(found.study, found.table, found.pictures, Words("en"))
    some = [figure for figure in figures(key, shown) if isinstance(figure, Figure)]
    return [
        (panel.title or figure.title, _arm_names(figure), str(panel.wide))
        for figure in some[-1:]
        for panel in figure.panels
    ]


def _arm_names(figure: "Figure") -> list[str]:
    """Of the arms that the legend names, in the order of their colours."""
    return [key.text for key in figure.keys if key.kind == "line"]


def _arms(found: Found) -> str:
    """What every arm came to, at its own best rate."""
    best = {arm.key: arm for arm in found.table.arms}
    lines = [f"### {found.conditions.data}", ""]
    lines += _head("arm", "what it is", "best rate", "learned, %", "test accuracy, %")
    for each in found.pictures.numbers:
        if each.best:
            arm = best[each.arm]
            rate = f"{each.learning_rate:g}{'*' * arm.at_the_edge}"
            means = [f"{sum(n) / len(n):.2f}" for n in (each.learned, each.ended)]
            lines.append(_line([each.arm, arm.words, rate, *means]))
    lines += ["", "\\* at the edge of the grid: a better rate may lie beyond it. Means over seeds."]
    return "\n".join(lines)


def _conditions(name: str, found: Found) -> str:
    """What a reader needs to repeat it."""
    table, data = found.table, found.table.data
    hidden = ", ".join(map(str, table.recipe.hidden))
    environment = table.environment
    return (
        f"**{found.conditions.data}**: {data.train_rows:,} training and {data.test_rows:,} test "
        f"rows; hidden layers of {hidden}; {table.recipe.weights} weights; "
        f"{_epochs(table.recipe)}; batches of {table.recipe.batch_size}; "
        f"Adam at {', '.join(f'{rate:g}' for rate in table.learning_rates)}; "
        f"{len(table.arms)} arms, seeds {table.seeds[0]}–{table.seeds[-1]}: "
        f"{len(found.study.runs)} runs; torch {environment.torch}. Every raw value: "
        f"[study](evidence/{name}/study.json.gz), [evidence](evidence/{name}/evidence.json), "
        f"[figures of the pictures](evidence/{name}/evidence-pictures.json). As a page: "
        f"`normscope report docs/evidence/{name}/study.json.gz`."
    )


def _epochs(recipe: "Recipe") -> str:
    """How long, and from when on the rate falls."""
    from normscope.training._schedule import learning_rate

    epochs = range(1, recipe.epochs + 1)
    falling = [e for e in epochs if learning_rate(recipe, e) < recipe.learning_rate]
    words = f"the rate falls from epoch {falling[0]} on" if falling else "at a constant rate"
    return f"{recipe.epochs} epoch{'s' * (recipe.epochs > 1)}, {words}"


def _head(*names: str) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '∣') for cell in cells)} |"


# --- writing ---


def draw() -> None:
    """The page's pictures, as files that stand alone."""
    from normscope.records import write_atomically
    from normscope.report._standalone import standalone

    for name, found in committed().items():
        for key in PICTURES:
            for at, (title, arms, drawing) in enumerate(drawings(key, found), start=1):
                content = standalone(drawing, title=title, names=arms)
                write_atomically(EVIDENCE / name / f"{key}-{at}.svg", content.encode())


def pasted() -> list[tuple[Path, str, str]]:
    """Which file has what text, and between which markers."""
    return [
        (README, "why", in_short()),
        (PAGE, "take home", take_home()),
        (PAGE, "evidence", page()),
    ]


def paste() -> None:
    """Bring the pictures and the page up to what the committed files say."""
    draw()
    for file, marker, text in pasted():
        before, rest = file.read_text(encoding="utf-8").split(f"<!-- {marker} -->")
        after = rest.split(f"<!-- end of {marker} -->")[1]
        whole = f"{before}<!-- {marker} -->\n{text}\n<!-- end of {marker} -->{after}"
        file.write_text(whole, encoding="utf-8")


def main(words: list[str]) -> int:
    """Train, print or paste."""
    if words == ["print"]:
        print("\n\n".join(text for _, _, text in pasted()))
        return 0
    if words != ["paste"]:
        for name in words or STUDIES:
            train(name)
    paste()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
