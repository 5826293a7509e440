"""The commands on a page do what made it again: the real command line reads them."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from normscope import studies
from normscope.cli._app import app
from normscope.records import Design, Recipe
from normscope.report import report_study
from normscope.report._command import compare_command, train_command
from normscope.studies._design import designed
from tests.report.pages import Read, run_page, small_study, study_page

RECIPES = [
    Recipe(),
    Recipe(data="a folder/of 'mine'.npz", hidden=(), warm_up=True, eps=1e-5, seed=3),
    Recipe(hidden=(64, 32), norm="none", weights="plain", learning_rate=0.0025, threads=2),
    Recipe(model="mine:build", model_options={"depth": 3, "bias": False, "name": "gelu"}),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_of_a_run_has_its_recipe(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    _, *words = shlex.split(train_command(recipe))
    done = CliRunner().invoke(app, [*words, "--write-recipe", str(file)])
    assert done.exit_code == 0, done.output
    assert Recipe.from_toml(file) == recipe


class CaughtError(Exception):
    """What `compare` was called with."""


def design_of(command: str, monkeypatch: pytest.MonkeyPatch) -> Design:
    """The design that the command line makes of a command; nothing is trained."""

    def compare(fields: Mapping[str, Sequence[Any]], recipe: Recipe, **options: Any) -> None:
        wanted = ("seeds", "target", "reference", "confidence")
        raise CaughtError(designed(fields, recipe, **{name: options[name] for name in wanted}))

    monkeypatch.setattr(studies, "compare", compare)
    _, *words = shlex.split(command)
    done = CliRunner().invoke(app, [*words, "--quiet"])
    assert isinstance(done.exception, CaughtError), done.output
    return done.exception.args[0]


@pytest.mark.parametrize(
    ("vary", "options"),
    [
        ({"norm": ["batch", "none"]}, {}),
        ({"norm": ["batch", "none"], "learning_rate": [0.003, 1e-4]}, {"seeds": [0, 3, 7]}),
        ({"learning_rate": [0.003, 0.01]}, {"seeds": [7], "target": 95.5}),
        ({"hidden": [(20, 10), ()], "warm_up": [True, False]}, {"confidence": 0.99}),
        (
            {"norm": ["batch", "none"], "hidden": [(20,), ()]},
            {"reference": "norm=batch, hidden=none"},
        ),
    ],
)
@pytest.mark.parametrize("recipe", [Recipe(), Recipe(epochs=2, seed=4, decay=0.9)])
def test_the_command_of_a_study_has_its_design(
    vary: dict[str, Any], options: dict[str, Any], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = designed(vary, recipe, **options)
    again = design_of(compare_command(design), monkeypatch)
    assert again.model_copy(update={"recipe": recipe}) == design
    rate = {"learning_rate": recipe.learning_rate}
    assert again.recipe.with_settings(rate) == recipe.with_settings(rate)


def test_another_command_would_have_another_design(monkeypatch: pytest.MonkeyPatch) -> None:
    design = designed({"norm": ["batch", "none"]}, Recipe())
    other = compare_command(design).replace("--seeds 5", "--seeds 6")
    assert design_of(other, monkeypatch) != design


def test_a_page_has_its_command_and_what_was_varied() -> None:
    assert compare_command(small_study().design) in Read(study_page()).text
    assert "normscope train" in Read(run_page()).text
    assert "varied: 0.003, 0.03" in Read(study_page()).text
    assert "varied: 0, 1, 2" in Read(study_page()).text
    assert "An arm is one of the variants" in Read(study_page()).text


def test_a_study_without_a_run_has_no_table_of_runs() -> None:
    study = small_study(inspections=False, status="running")
    assert "Every run" not in Read(report_study(study.model_copy(update={"runs": ()}))).text
