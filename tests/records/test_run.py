"""`run.json`: strict, versioned, and faithful."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from normscope._errors import RecipeError, RunFolderError
from normscope.records import DataRecord, Environment, EpochRecord, Recipe, Run, Score, TestScores


def epoch(number: int, loss: float = 0.5) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        train_loss=loss,
        train_accuracy=90.0,
        valid_loss=0.4,
        valid_accuracy=88.0,
        learning_rate=0.02,
        seconds=1.5,
    )


def a_run(**changes: object) -> Run:
    fields: dict[str, object] = {
        "status": "complete",
        "recipe": Recipe(),
        "data": DataRecord(
            name="letters",
            source="letters",
            fingerprint="0" * 64,
            classes=("A", "B"),
            image_size=(28, 28),
            train_rows=10,
            valid_rows=2,
            test_rows=3,
            framing={"background": -0.5, "stretched": True},
        ),
        "environment": Environment(
            normscope="0",
            python="3",
            torch="2",
            numpy="2",
            platform="x",
            processor="y",
            device="cpu",
            threads=1,
        ),
        "epochs": (epoch(1), epoch(2)),
        "test": TestScores(
            running=Score(accuracy=90.0, loss=0.1),
            population=Score(accuracy=91.0, loss=0.1),
            batch=Score(accuracy=92.0, loss=0.1),
        ),
    }
    return Run.model_validate(fields | changes)


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    run = a_run()
    run.save(tmp_path / "run.json")
    assert Run.load(tmp_path) == Run.load(tmp_path / "run.json") == run


def test_numbers_that_are_not_finite_survive_as_valid_json(tmp_path: Path) -> None:
    run = a_run(epochs=(epoch(1, loss=float("inf")),))
    run.save(tmp_path / "run.json")
    strict = json.loads((tmp_path / "run.json").read_text(), parse_constant=pytest.fail)
    assert strict["epochs"][0]["train_loss"] == "Infinity"
    assert Run.load(tmp_path) == run


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "fine"},
        {"format_version": 2},
        {"stranger": 1},
        {"epochs": (epoch(2),)},
        {"epochs": (epoch(1), epoch(3))},
        {"recipe": {"epochs": 0}},
    ],
    ids=str,
)
def test_a_record_of_another_kind_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises((ValidationError, RecipeError)):
        a_run(**changes)


def test_a_wrong_recipe_in_a_record_is_said_with_the_file(tmp_path: Path) -> None:
    a_run().save(tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace('"epochs": 100', '"epochs": 0'))
    with pytest.raises(RunFolderError, match=r"run.json: .*epochs has to be 1 or more, got 0"):
        Run.load(tmp_path)


def test_the_documentation_names_every_field() -> None:
    page = Path(__file__).parents[2] / "docs" / "run-folder.md"
    if not page.exists():
        pytest.skip("the docs stand in the repository")
    text = page.read_text(encoding="utf-8")
    for record in (Run, EpochRecord, DataRecord, Environment, TestScores, Score):
        for name, field in record.model_fields.items():
            assert f"`{name}`" in text, name
            assert field.description, name
