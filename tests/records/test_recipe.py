"""Recipes: files that a person reads and changes, and errors that name the field."""

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
    norm=st.sampled_from(["batch", "none", "layer"]),
    weights=st.sampled_from(["scaled", "plain"]),
    eps=st.floats(1e-12, 1.0),
    decay=st.floats(0, 0.9999),
    warm_up=st.booleans(),
    running_variance=st.sampled_from(["population", "bessel"]),
    epochs=st.integers(1, 1000),
    learning_rate=st.floats(1e-9, 10),
    seed=st.integers(0, 2**63 - 1),
)


@given(recipe=RECIPES)
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
        index = next(i for i, line in enumerate(lines) if line.startswith(f"{name} = "))
        assert lines[index - 1].startswith("# ")


def test_a_file_may_leave_fields_out(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text("epochs = 3\nlearning_rate = 1\n")
    assert Recipe.from_toml(tmp_path / "short.toml") == Recipe(epochs=3, learning_rate=1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs = 0", "epochs: .*greater than or equal to 1, got 0"),
        ("epochs = true", "epochs: .*integer, got True"),
        ("epochs = 2.5", "epochs: .*integer, got 2.5"),
        ('epochs = "3"', "epochs: .*integer, got '3'"),
        ("batch_size = 1", "batch_size: .*2, got 1"),
        ("learning_rate = nan", "learning_rate"),
        ("learning_rate = -1", "learning_rate: .*greater than 0, got -1"),
        ("decay = 1.0", "decay: .*less than 1, got 1.0"),
        ("eps = 0", "eps"),
        ('norm = "bach"', "norm: .*'batch', 'none' or 'layer', got 'bach'"),
        ("hidden = [100, 0]", "hidden.1: .*greater than or equal to 1, got 0"),
        ("hidden = 100", "hidden"),
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


def test_recipes_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().epochs = 3  # type: ignore[misc]
