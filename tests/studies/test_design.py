"""What a study compares: its arms and runs, what these are called, and what is refused."""

import pytest

from normscope._errors import RecipeError, StudyError
from normscope.records import Design, Recipe
from normscope.studies._design import designed, planned_runs

NORMS = {"norm": ["batch", "none"]}
RATES = {"learning_rate": [0.01, 0.02]}


def names(design: Design) -> list[str]:
    return [run.name for run in planned_runs(design)]


def test_every_combination_but_for_the_rate_is_an_arm_and_every_arm_meets_every_rate_and_seed() -> (
    None
):
    design = designed({**NORMS, "hidden": [(9,), ()], **RATES}, Recipe(), seeds=3)
    assert [arm.name for arm in design.arms] == [
        "norm=batch, hidden=9",
        "norm=batch, hidden=none",
        "norm=none, hidden=9",
        "norm=none, hidden=none",
    ]
    runs = planned_runs(design)
    assert len(runs) == 4 * 2 * 3
    seen = {(r.recipe.norm, r.recipe.hidden, r.recipe.learning_rate, r.recipe.seed) for r in runs}
    assert len(seen) == len(runs), "no two are alike"
    for run in runs:
        arm = next(arm for arm in design.arms if arm.name == run.arm)
        assert run.recipe.norm == arm.settings["norm"]
        assert run.learning_rate == run.recipe.learning_rate
    assert [run.recipe.seed for run in runs[:3]] == [0, 1, 2]


def test_rates_alone_are_the_arms_each_at_its_own() -> None:
    design = designed(RATES, Recipe(), seeds=2)
    assert [arm.name for arm in design.arms] == ["learning_rate=0.01", "learning_rate=0.02"]
    assert [design.rates_of(arm) for arm in design.arms] == [(0.01,), (0.02,)]
    assert names(design) == [f"learning-rate-{r}-seed-{s}" for r in (0.01, 0.02) for s in (0, 1)]


def test_without_rates_the_recipes_own_is_the_only_one() -> None:
    design = designed(NORMS, Recipe(learning_rate=0.005))
    assert design.learning_rates == (0.005,)
    assert {run.learning_rate for run in planned_runs(design)} == {0.005}


@pytest.mark.parametrize(
    "more",
    [
        {"vary": {**NORMS, **RATES}, "seeds": 9},
        {"vary": {**NORMS, "learning_rate": [0.01, 0.02, 0.03]}, "seeds": 2},
        {"vary": {"norm": ["layer", "batch", "none"], **RATES}, "seeds": 2},
        {"vary": {**NORMS, **RATES}, "seeds": [7, 1, 0]},
    ],
)
def test_names_stay_when_a_study_grows(more: dict) -> None:
    small = set(names(designed({**NORMS, **RATES}, Recipe(), seeds=2)))
    assert small < set(names(designed(**more, recipe=Recipe())))


def test_seeds_count_from_the_recipes_or_are_given() -> None:
    assert designed(NORMS, Recipe(seed=4), seeds=3).seeds == (4, 5, 6)
    assert designed(NORMS, Recipe(seed=4), seeds=(0, 9)).seeds == (0, 9)


@pytest.mark.parametrize(
    ("vary", "wanted", "reference"),
    [
        (NORMS, "batch", "norm=batch"),
        ({**NORMS, "batch_size": [10, 20]}, "20", "norm=none, batch_size=20"),
        ({**NORMS, "batch_size": [10, 20]}, "batch-size=20", "norm=none, batch_size=20"),
        (NORMS, None, "norm=none"),
        (NORMS, "norm=batch", "norm=batch"),
        ({"weights": ["plain", "scaled"], **NORMS}, None, "weights=plain, norm=none"),
        ({"weights": ["plain", "scaled"], **NORMS}, "weights=scaled", "weights=scaled, norm=none"),
        ({"norm": ["layer", "batch"]}, None, "norm=layer"),
        ({"hidden": [(9, 5), ()]}, "hidden=none", "hidden=none"),
        (RATES, " learning_rate = 0.02", "learning_rate=0.02"),
        ({"learning_rate": [0.1, 100]}, "learning_rate=1e2", "learning_rate=100"),
    ],
)
def test_the_reference_is_the_plain_arm_or_the_wanted_one(
    vary: dict, wanted: str | None, reference: str
) -> None:
    design = designed(vary, Recipe(), reference=wanted)
    assert design.reference == reference
    assert reference in {arm.name for arm in design.arms}


@pytest.mark.parametrize(
    ("vary", "options", "says"),
    [
        ({}, {}, "Nothing is varied"),
        ({"norm": ["batch"]}, {}, "norm has 1 value to compare; give two"),
        ({"norm": []}, {}, "norm has no values to compare"),
        ({"norm": "batch"}, {}, "norm: give a list of values"),
        ({"norm": ["batch", "none", "batch"]}, {}, "norm=batch is there twice"),
        ({"learning_rate": [0.1, 0.10]}, {}, "learning_rate=0.1 is there twice"),
        ({"seed": [1, 2]}, {}, r"seed cannot be varied; .*\(--seeds\)"),
        ({"data": ["a", "b"]}, {}, "data cannot be varied; all arms see the same"),
        ({"data": ["a/x", "b/x"], "valid_fraction": [0.1, 0.2]}, {}, "cannot be varied"),
        (NORMS, {"seeds": 0}, "seeds is 0; give how many"),
        (NORMS, {"seeds": True}, "seeds is True"),
        (NORMS, {"seeds": [1, 1]}, r"seeds is \[1, 1\]"),
        (NORMS, {"seeds": "5"}, "seeds is '5'"),
        (NORMS, {"reference": "norm=layer"}, "none of the arms: norm=batch; norm=none"),
        (NORMS, {"reference": "layer"}, "none of the arms"),
        (
            {**NORMS, "hidden": [(9,), ()]},
            {"reference": "none"},
            "norm=none and hidden=none; write",
        ),
        (NORMS, {"target": 0.0}, "target is 0.0; give the percent"),
        (NORMS, {"target": 101}, "target is 101"),
        (NORMS, {"confidence": 95}, "confidence is 95; give a number from 0.5"),
        (NORMS, {"confidence": float("nan")}, "confidence is nan"),
    ],
)
def test_a_design_that_cannot_be_is_one_sentence(vary: dict, options: dict, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        designed(vary, Recipe(), **options)


@pytest.mark.parametrize(
    ("vary", "says"),
    [
        ({"nrom": ["batch", "none"]}, "there is no field nrom .did you mean norm"),
        ({"norm": ["batch", "nothing"]}, "norm=nothing: norm has to be batch, "),
        ({"learning_rate": [0.1, -1.0]}, "learning_rate=-1: learning_rate has to be more than 0"),
        (
            {"warm_up": [False, True], "average": ["exponential", "cumulative"]},
            "warm_up=true, average=cumulative: warm_up is for",
        ),
    ],
)
def test_settings_that_the_recipe_refuses_name_the_arm(vary: dict, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        designed(vary, Recipe())


def test_options_of_a_model_of_ones_own_can_be_varied() -> None:
    recipe = Recipe(model="mine:build", model_options={"depth": 2})
    design = designed({"width": [16, 32], "norm": ["batch", "none"]}, recipe, seeds=1)
    assert [arm.name for arm in design.arms][1] == "width=16, norm=none"
    assert [run.recipe.model_options for run in planned_runs(design)] == [
        {"depth": 2, "width": width} for width in (16, 16, 32, 32)
    ]


def test_a_design_is_what_json_gives_back() -> None:
    design = designed({"hidden": [(9, 5), ()], "decay": [0.9, 0.99], **RATES}, Recipe())
    assert Design.model_validate_json(design.model_dump_json()) == design


def test_one_and_true_are_two_values_of_an_option_and_one_and_one_are_not() -> None:
    own = Recipe(model="mine:network")
    arms = designed({"flag": [1, True, 0, False]}, own).arms
    assert [arm.name for arm in arms] == ["flag=1", "flag=true", "flag=0", "flag=false"]
    with pytest.raises(StudyError, match="flag=1 is there twice"):
        designed({"flag": [1, 1.0]}, own)
