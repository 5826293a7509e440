"""Recipes: files that a person reads and changes, and errors that name the field."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normscope._errors import RecipeError
from normscope.records import Recipe

RECIPES = st.builds(
    Recipe,
    data=st.text(min_size=1, max_size=20),
    valid_fraction=st.floats(0.01, 0.49),
    hidden=st.lists(st.integers(1, 5000), max_size=8).map(tuple),
    norm=st.sampled_from(["batch", "none", "layer", "noisy", "last", "clipped"]),
    weights=st.sampled_from(["scaled", "plain"]),
    eps=st.floats(1e-12, 1.0),
    decay=st.floats(0, 0.9999),
    warm_up=st.booleans(),
    running_variance=st.sampled_from(["population", "bessel"]),
    epochs=st.integers(1, 1000),
    learning_rate=st.floats(1e-9, 10),
    seed=st.integers(0, 2**63 - 1),
)


OPTIONS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
    st.text(max_size=9)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False),
)
OWN = st.builds(Recipe, model=st.just("mine.models:build"), model_options=OPTIONS)


@given(recipe=RECIPES | OWN)
def test_a_recipe_survives_its_file(
    recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("recipes") / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_toml(path) == recipe


def test_the_defaults_are_the_articles() -> None:
    recipe = Recipe()
    assert recipe.hidden == (1000, 500, 250, 250, 250)
    assert (recipe.learning_rate, recipe.batch_size, recipe.epochs) == (0.02, 120, 100)
    assert (recipe.constant_epochs, recipe.decay, recipe.eps) == (15, 0.99, 1e-10)
    assert (recipe.norm, recipe.weights, recipe.running_variance) == (
        "batch", "scaled", "population",
    )  # fmt: skip


def test_every_field_is_explained_in_the_file() -> None:
    lines = Recipe().to_toml().splitlines()
    for name in Recipe.model_fields:
        # A field that is absent stands there as a comment.
        index = next(i for i, line in enumerate(lines) if re.match(f"(# )?{name} = ", line))
        assert lines[index - 1].startswith("# ")


def test_a_file_may_leave_fields_out(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text("epochs = 3\nlearning_rate = 1\n")
    assert Recipe.from_toml(tmp_path / "short.toml") == Recipe(epochs=3, learning_rate=1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = 0", "epochs has to be 1 or more, got 0"),
        ("epochs = true", "epochs has to be a whole number, got True"),
        ("epochs = 2.5", "epochs has to be a whole number, got 2.5"),
        ('epochs = "3"', "epochs has to be a whole number, got '3'"),
        ("batch_size = 1", "batch_size has to be 2 or more, got 1"),
        ("learning_rate = nan", "learning_rate has to be a finite number, got nan"),
        ("learning_rate = -1", "learning_rate has to be more than 0, got -1"),
        ("decay = 1.0", "decay has to be less than 1, got 1.0"),
        ("eps = 0", "eps has to be more than 0, got 0"),
        ('data = ""', "data has to be text that is not empty"),
        ('norm = "bach"', "norm has to be batch, none, layer, .* last or clipped, got 'bach'"),
        ("ghost_size = 1", "ghost_size is 1; it has to be 0, or from 2 to batch_size .120."),
        ("ghost_size = 121", "ghost_size is 121; it has to be 0, or from 2 to batch_size"),
        ('ghost_size = 8\nnorm = "mean"', "ghost_size is for norm = batch or last; norm = mean"),
        ("clipping = 0", "clipping has to be more than 0, got 0"),
        ("hidden = [100, 0]", r"hidden\[1\] has to be 1 or more, got 0"),
        ("hidden = 100", "hidden has to be a list, got 100"),
        ("lerning_rate = 1", "no field lerning_rate .did you mean learning_rate"),
        ("zzz = 1", "no field zzz .known: data"),
        ('warm_up = true\naverage = "cumulative"', "warm_up is for average = exponential"),
        ("epochs 3", "not TOML"),
        ("[training]\nepochs = 3", "no field training"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_with_file_and_field(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says) as caught:
        Recipe.from_toml(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_all_wrong_fields_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("epochs = 0\nbatch_size = 0")
    with pytest.raises(RecipeError, match=r"(?=.*epochs)(?=.*batch_size)"):
        Recipe.from_toml(path)


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "recipe.toml"
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="recipe.toml"):
        Recipe.from_toml(path)


def test_in_python_a_wrong_field_is_the_same_sentence() -> None:
    with pytest.raises(RecipeError, match="no field lr .did you mean learning_rate"):
        Recipe(lr=0.1)  # type: ignore[call-arg]


@given(recipe=RECIPES | OWN)
def test_a_recipe_survives_its_record(recipe: Recipe) -> None:
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert hash(again) == hash(recipe)


def test_the_order_of_options_makes_no_other_recipe() -> None:
    one = Recipe(model="m:f", model_options={"a": 1, "b": 2})
    other = Recipe(model="m:f", model_options={"b": 2, "a": 1})
    assert (one, hash(one)) == (other, hash(other))
    assert one != Recipe(model="m:f", model_options={"a": 1, "b": 3})


def test_a_recipe_from_before_there_were_models_still_loads() -> None:
    old = Recipe().model_dump(mode="json")
    del old["model"], old["model_options"]
    assert Recipe.model_validate(old) == Recipe()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "mine"}, "model: name the function .*package.module:function, got 'mine'"),
        ({"model": "mine:build()"}, "model: name the function"),
        ({"model_options": {"width": 3}}, "width.* are for a model of your own"),
        ({"model": "m:f", "model_options": {"w": [3]}}, "w has to be text, a finite number"),
        ({"model": "m:f", "model_options": {"w": math.nan}}, "w has to be text, a finite number"),
        ({"model": "m:f", "model_options": {"w": None}}, "w has to be text, a finite number"),
        ({"model": "m:f", "hidden": (3,)}, "hidden shape the built-in network.*is m:f"),
    ],
)
def test_a_wrong_model_is_one_sentence(fields: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        Recipe(**fields)
    assert str(caught.value).count("model") < 4


def test_settings_are_fields_of_the_recipe() -> None:
    recipe = Recipe(epochs=3).with_settings({"norm": "none", "hidden": (9,), "learning_rate": 1})
    assert recipe == Recipe(epochs=3, norm="none", hidden=(9,), learning_rate=1.0)


def test_settings_that_are_no_fields_are_for_the_model() -> None:
    mine = Recipe(model="m:f", model_options={"depth": 3, "width": 8})
    changed = mine.with_settings({"width": 64, "norm": "none", "eps": 0.1, "seed": 4})
    assert changed.model_options == {"depth": 3, "width": 64, "eps": 0.1}
    assert (changed.norm, changed.seed, changed.eps) == ("none", 4, 1e-10)
    assert mine.model_options == {"depth": 3, "width": 8}


def test_a_setting_can_be_the_model() -> None:
    changed = Recipe().with_settings({"width": 64, "model": "m:f"})
    assert (changed.model, changed.model_options) == ("m:f", {"width": 64})


@pytest.mark.parametrize("settings", [{"width": 64}, {"norm": "bach"}, {"seed": -1}])
def test_a_wrong_setting_is_named(settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=f"the settings: .*{next(iter(settings))}"):
        Recipe().with_settings(settings)


def test_recipes_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().epochs = 3  # type: ignore[misc]
