"""The table of a study's runs: every raw value, and nothing where there is none."""

import csv
import io

import numpy as np

from normscope.records import Arm, Study, study_csv
from tests.report import samples


def rows(study: Study) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(study_csv(study), newline="")))


def test_a_row_for_every_run_in_their_order_with_what_the_record_holds() -> None:
    study = samples.study()
    table = rows(study)
    assert len(table) == len(study.runs) > 1
    for row, run in zip(table, study.runs, strict=True):
        assert (row["arm"], row["folder"], row["status"]) == (run.arm, run.folder, run.status)
        assert (float(row["learning_rate"]), int(row["seed"])) == (run.learning_rate, run.seed)
        assert int(row["finished_steps"]) == len(run.epochs) * run.steps_per_epoch
        assert float(row["valid_accuracy"]) == run.epochs[-1].valid_accuracy
        if run.test:
            assert float(row["test_accuracy_population"]) == run.test.population.accuracy
            assert float(row["test_loss_batch"]) == run.test.batch.loss


def test_the_steps_to_the_target_are_the_analysis_own_seed_by_seed() -> None:
    study = samples.study()
    for row in rows(study):
        (cell,) = (
            cell
            for cell in study.analysis.cells
            if (cell.arm, cell.learning_rate) == (row["arm"], float(row["learning_rate"]))
        )
        steps = cell.steps[study.design.seeds.index(int(row["seed"]))]
        assert row["steps_to_target"] == ("" if steps is None else str(steps))


def test_a_run_without_a_test_and_a_study_without_an_analysis_leave_cells_empty() -> None:
    whole = samples.study()
    run = whole.runs[0].model_copy(update={"status": "diverged", "test": None, "epochs": ()})
    (row,) = rows(whole.model_copy(update={"runs": (run,), "analysis": None}))
    empty = {name for name, value in row.items() if value == ""}
    assert {"test_accuracy_running", "valid_loss", "target", "steps_to_target"} <= empty
    assert row["finished_epochs"] == "0"


def test_every_varied_field_is_a_column_and_widths_are_as_they_are_typed() -> None:
    whole = samples.study()
    arm = Arm(name=whole.runs[0].arm, settings={"hidden": [20, 10], "epochs": 7})
    design = whole.design.model_copy(update={"arms": (arm,)})
    (row,) = rows(whole.model_copy(update={"runs": whole.runs[:1], "design": design}))
    assert (row["hidden"], row["epochs"]) == ("20x10", "7")


def test_no_hidden_layers_and_truth_are_as_they_are_typed() -> None:
    whole = samples.study()
    arm = Arm(name=whole.runs[0].arm, settings={"hidden": [], "warm_up": True})
    design = whole.design.model_copy(update={"arms": (arm,)})
    (row,) = rows(whole.model_copy(update={"runs": whole.runs[:1], "design": design}))
    assert (row["hidden"], row["warm_up"]) == ("none", "true")


def test_an_option_that_is_called_like_a_column_has_one_of_its_own() -> None:
    whole = samples.study()
    arm = Arm(name=whole.runs[0].arm, settings={"target": 3, "width": 4})
    design = whole.design.model_copy(update={"arms": (arm,)})
    (row,) = rows(whole.model_copy(update={"runs": whole.runs[:1], "design": design}))
    assert (row["option_target"], row["width"]) == ("3", "4")
    assert float(row["target"]) == whole.analysis.target


def test_figures_are_read_back_as_the_same_numbers() -> None:
    study = samples.study()
    table = np.genfromtxt(io.StringIO(study_csv(study)), delimiter=",", names=True, dtype=None)
    wanted = [run.test.running.accuracy for run in study.runs if run.test]
    read = table["test_accuracy_running"]
    assert read[~np.isnan(read)].tolist() == wanted
