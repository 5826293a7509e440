"""Write the reference pages that follow from the code: recipe, run folder and study, in `docs/`.

Run by `./dev docs`. A test holds that the committed pages are what this writes.
"""

from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from normscope.records import (
    Analysis,
    Arm,
    Band,
    Cell,
    Comparison,
    CurvePoint,
    DataRecord,
    Design,
    Environment,
    EpochRecord,
    Estimate,
    EvidenceRow,
    EvidenceTable,
    History,
    Inspected,
    Inspection,
    LayerHistory,
    LayerStatistics,
    McNemar,
    Mistake,
    Recipe,
    Run,
    Score,
    Specimen,
    Study,
    StudyRun,
    TestScores,
)
from normscope.records._evidence import ExplainedArm, LeftOut, PremiseChecked, SeedValue

DOCS = Path(__file__).resolve().parents[1] / "docs"

RECIPE = """# The recipe

Everything that decides what a training computes. Write one, change it, train by it:

```
normscope train --write-recipe my.toml
normscope train --recipe my.toml
```

Every field is also a flag (`learning_rate` is `--learning-rate`, or `--lr`); a flag wins over the
file. A field that is left out keeps its default, which is the founding article's own setting. A
wrong field is refused in one sentence that names it.

`data` and `model` can be functions of your own: [your own model, your own data](own-models.md).
"""

RUN_FOLDER = """# The run folder

What `normscope train` leaves behind:

| path | what |
| --- | --- |
| `run.json` | the record of the run, described below |
| `recipe.toml` | the recipe that ran ([its fields](recipe.md)) |
| `checkpoints/` | the newest two checkpoints |
| `checkpoints/*/network.safetensors` | the network's state dict: weights and buffers |
| `checkpoints/*/training.safetensors` | Adam's moments, the open epoch's losses, random state |
| `checkpoints/*/state.json` | the finished epochs, and the step within the unfinished one |
| `inspection.json` | what is inside the network, for the report, described below |
| `history.jsonl` | its `history`, a line for each moment, written while the network trains |
| `readings.jsonl` | what [probes](observe.md) read, a line for each reading, with `--probe` |
| `tensorboard/` | event files, where `normscope[tensorboard]` is installed |
| `.lock` | keeps a second process from training into the folder |

Nothing here is a pickle: no file can execute code when it is loaded. The learning rate and the
order of the rows are functions of the recipe, the seed and the epoch, so they need no file.

The record and the checkpoints take their names in one step, after their bytes have reached the disk
(the event files do not; a resumed run writes them anew). So a run that is killed at any moment goes
on with `normscope train --resume RUN`, and ends in the bits it would have ended in, on the same
machine and versions. On a GPU bits are not promised.

Within a training step on one CPU thread, denormal numbers (below 1.2e-38) are taken for zeros. The
moments of units that fell silent shrink into that range, where a CPU computes slowly. No weight
changes by it: a test compares the bits. With more threads denormals are left alone: a thread that
exists already would not hear of the change.

```python
import normscope as ns

network = ns.load("runs/letters-batch-1")       # an MLP in eval mode
run = ns.Run.load("runs/letters-batch-1")       # the record
run.test.running.accuracy
```

Without us, the weights are plain tensors. With `weights = "scaled"` a linear weight is divided by
the square root of its fan-in on every use:

```python
import normscope as ns
from safetensors.numpy import load_file

images = ns.load_data("letters").test.images    # or others, scaled as in training
run = "runs/letters-batch-1/checkpoints/epoch-000100-step-000000"
w = load_file(f"{run}/network.safetensors")
h = images.reshape(len(images), -1)
for i in range(6):
    W, norm = w[f"layers.{i}.linear.weight"], f"layers.{i}.norm"
    s1 = h @ W.T / W.shape[1] ** 0.5
    s2 = (s1 - w[f"{norm}.running_mean"]) / (w[f"{norm}.running_var"] + 1e-10) ** 0.5
    s3 = w[f"{norm}.weight"] * s2 + w[f"{norm}.bias"]
    h = s3.clip(min=0)
letters = s3.argmax(axis=1)
```

The inside is looked at by the command, not by `ns.train`; `normscope train --no-inspect` leaves it
out. For a run that has none, or has lost it, `ns.inspect("runs/letters-batch-1")` makes it, without
the distributions through training if nobody looked on. A run with somebody looking on ends in the
same bits as one without.

A run of the default network takes 37 MB: two checkpoints, each of 1.54 million weights and Adam's
two moments of every one, in float32.

# `run.json`

Version {version}. A reader refuses a version that it does not know. Numbers that are not finite are
the strings `"NaN"`, `"Infinity"` and `"-Infinity"`.
"""

INSPECTION = """
# `inspection.json`

Version {version}. A reader refuses a version that it does not know; `ns.inspect` makes the file
again. Each line of `history.jsonl` is a `history` of one moment.

With the stages named as in the article, `s1` are a layer's sums `x W` (without a bias), and
`s3 = gamma (s1 - mean) / sqrt(variance + eps) + beta`, with the batch's statistics in training and
the running ones in the finished network; `h = max(s3, 0)` on hidden layers. With no norm,
`s3 = s1 + beta`. Of a network of somebody's own the batch norms are seen: `s1` is what they are
given, `s3` what they give, and no image is followed. Percentiles are those of at most 16,384 values
of a layer, the same places every time, every unit as often as every other.

```python
inspection = ns.inspect("runs/letters-batch-1")
inspection.layers[0].running_mean
```
"""

STUDY = """# The study file

What `normscope compare` leaves behind as `study.json`: every run's raw values, and what follows
from them. A reader needs neither torch nor the run folders:

```python
from normscope.records import Study

study = Study.load("studies/letters-norm")      # the folder, or the file
study.analysis.comparisons
```

Version {version}. A reader refuses a version that it does not know. Numbers that are not finite are
the strings `"NaN"`, `"Infinity"` and `"-Infinity"`. Recipes are described [here](recipe.md);
epochs, tests, data, environment and inspections are those of [run folders](run-folder.md).
"""

EVIDENCE = """
# `evidence.json`

What [`normscope explain`](explain.md) leaves beside it: each prediction with the figure that was
measured, both thresholds and the verdict. Thresholds that are none are `"-Infinity"` and
`"Infinity"`, and a figure of no seed at all is `"NaN"`.

```python
from normscope.records import EvidenceTable

table = EvidenceTable.load("studies/letters-why")      # the folder, or the file
[(row.key, row.judgement, row.why) for row in table.rows]
```

Version {version}. `evidence-pictures.json` is what the page draws, and no format to read by others.
"""


def recipe_page() -> str:
    """`docs/recipe.md`."""
    parts, heading = [RECIPE], None
    for name, field in Recipe.model_fields.items():
        if (section := Recipe.section_of(name)) != heading:
            parts.append(
                f"\n## {section}\n\n| field | default | what it is |\n| --- | --- | --- |\n"
            )
            heading = section
        parts.append(f"| `{name}` | `{_default(field)}` | {_explained(field)} |\n")
    return "".join(parts)


def run_folder_page() -> str:
    """`docs/run-folder.md`."""
    tables = [
        _table("The document", Run),
        _table("Each of `epochs`", EpochRecord),
        _table("`test`", TestScores),
        _table("Each of the three", Score),
        _table("`data`", DataRecord),
        _table("`environment`", Environment),
        _versioned(INSPECTION, Inspection),
        _table("All of it", Inspection),
        _table("`history`", History),
        _table("Each of its `layers`", LayerHistory),
        _table("Each of their entries", Band),
        _table("Each of `layers`", LayerStatistics),
        _table("Each of `specimens`", Specimen),
        _table("Each of `mistakes`", Mistake),
    ]
    return "\n".join([_versioned(RUN_FOLDER, Run), *tables])


def study_page() -> str:
    """`docs/study.md`."""
    tables = [
        _table("The document", Study),
        _table("`design`", Design),
        _table("Each of its `arms`", Arm),
        _table("Each of `runs`", StudyRun),
        _table("Each of their `curve`", CurvePoint),
        _table("`analysis`", Analysis),
        _table("Each of its `cells`", Cell),
        _table("Each of its `comparisons`", Comparison),
        _table("Each of its `mcnemar`", McNemar),
        _table("Each estimate", Estimate),
        _table("Each of `inspections`", Inspected),
        _versioned(EVIDENCE, EvidenceTable),
        _table("The table", EvidenceTable),
        _table("Each of its `arms`", ExplainedArm),
        _table("Each of `left_out`", LeftOut),
        _table("Each of `rows`", EvidenceRow),
        _table("Each of their `values`", SeedValue),
        _table("Each of their `premises`", PremiseChecked),
    ]
    return "\n".join([_versioned(STUDY, Study), *tables])


def _versioned(text: str, record: type[BaseModel]) -> str:
    """A page's own words, with the version of the record in them."""
    version = get_args(record.model_fields["format_version"].annotation)[0]
    return text.replace("{version}", str(version))


def _table(title: str, record: type[BaseModel]) -> str:
    rows = (
        f"| `{name}` | {_explained(field).replace('``', '`')} |\n"
        for name, field in record.model_fields.items()
    )
    return f"## {title}\n\n| field | what it is |\n| --- | --- |\n{''.join(rows)}"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _explained(field: FieldInfo) -> str:
    choices = [f"`{choice}`" for choice in get_args(field.annotation) if isinstance(choice, str)]
    explained = " ".join((field.description or "").split())
    return f"{explained} ({', '.join(choices)})" if choices else explained


def main() -> None:
    """Write the pages."""
    (DOCS / "recipe.md").write_text(recipe_page(), encoding="utf-8")
    (DOCS / "run-folder.md").write_text(run_folder_page(), encoding="utf-8")
    (DOCS / "study.md").write_text(study_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
