"""Write the reference pages that follow from the code: `docs/recipe.md` and `docs/run-folder.md`.

Run by `./dev docs`. A test holds that the committed pages are what this writes.
"""

from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from normscope.records import DataRecord, Environment, EpochRecord, Recipe, Run, Score, TestScores

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
from safetensors.numpy import load_file

run = "runs/letters-batch-1/checkpoints/epoch-000100-step-000000"
w = load_file(f"{run}/network.safetensors")
h = images.reshape(len(images), -1)             # float32, scaled as in training
for i in range(6):
    W, norm = w[f"layers.{i}.linear.weight"], f"layers.{i}.norm"
    s1 = h @ W.T / W.shape[1] ** 0.5
    s2 = (s1 - w[f"{norm}.running_mean"]) / (w[f"{norm}.running_var"] + 1e-10) ** 0.5
    s3 = w[f"{norm}.weight"] * s2 + w[f"{norm}.bias"]
    h = s3.clip(min=0)
letters = s3.argmax(axis=1)
```

A run of the default network takes 37 MB: two checkpoints, each of 1.54 million weights and Adam's
two moments of every one, in float32.

# `run.json`

Version {version}. A reader refuses a version that it does not know. Numbers that are not finite are
the strings `"NaN"`, `"Infinity"` and `"-Infinity"`.
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
    version = get_args(Run.model_fields["format_version"].annotation)[0]
    tables = [
        _table("The document", Run),
        _table("Each of `epochs`", EpochRecord),
        _table("`test`", TestScores),
        _table("Each of the three", Score),
        _table("`data`", DataRecord),
        _table("`environment`", Environment),
    ]
    return "\n".join([RUN_FOLDER.replace("{version}", str(version)), *tables])


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
    explained = field.description or ""
    return f"{explained} ({', '.join(choices)})" if choices else explained


def main() -> None:
    """Write both pages."""
    (DOCS / "recipe.md").write_text(recipe_page(), encoding="utf-8")
    (DOCS / "run-folder.md").write_text(run_folder_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
