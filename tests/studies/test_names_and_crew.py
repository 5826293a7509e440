"""What runs are called, and how many processes train them."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normscope._errors import InputError, RecipeError
from normscope.data import Dataset
from normscope.records import Recipe
from normscope.studies import _crew
from normscope.studies._cores import usable_cores
from normscope.studies._crew import batches, crew_size, work_left
from normscope.studies._messages import Task
from normscope.studies._names import named
from normscope.training import data_record

GRID = [
    Recipe(norm=norm, learning_rate=rate, seed=seed)
    for norm in ("batch", "none")
    for rate in (0.001, 0.02)
    for seed in (0, 11)
]


def test_runs_are_called_by_what_tells_them_apart() -> None:
    assert list(named([Recipe(seed=0), Recipe(seed=10)])) == ["seed-0", "seed-10"]
    assert next(iter(named(GRID))) == "norm-batch-learning-rate-0.001-seed-0"
    layers = [Recipe(hidden=hidden) for hidden in ((30, 20), ())]
    assert list(named(layers)) == ["hidden-30x20-seed-0", "hidden-none-seed-0"]
    places = [Recipe(data=data) for data in ("letters", "/elsewhere/notMNIST.pickle")]
    assert list(named(places)) == ["data-letters-seed-0", "data-notMNIST.pickle-seed-0"]


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_recipes_does_not_matter(shuffler: random.Random) -> None:
    shuffled = list(GRID)
    shuffler.shuffle(shuffled)
    assert named(shuffled) == named(GRID)
    assert list(named(shuffled).values()) == shuffled


def test_more_seeds_leave_the_names_alone() -> None:
    more = [recipe.model_copy(update={"seed": recipe.seed + 1}) for recipe in GRID]
    assert named(GRID).items() <= named([*GRID, *more]).items()


def test_a_mapping_brings_its_own_names() -> None:
    assert list(named({"b": Recipe(), "a": Recipe(seed=1)})) == ["b", "a"]


@pytest.mark.parametrize(
    ("recipes", "seen"),
    [
        ([], "no recipes.*at least one"),
        ({}, "no recipes"),
        (Recipe(), "list of recipes"),
        ([Recipe(), "batch"], "one of them is 'batch'"),
        ([Recipe(), Recipe(seed=1), Recipe()], "Recipes 1 and 3 would both be called seed-0"),
        ([Recipe(data="a/x.npz"), Recipe(data="b/x.npz")], "1 and 2.*data-x.npz-seed-0"),
        ({"a/b": Recipe()}, "'a/b' cannot be a run's name"),
        ({"..": Recipe()}, "cannot be a run's name"),
        ({"": Recipe()}, "cannot be a run's name"),
    ],
)
def test_what_cannot_be_named_is_refused_in_a_sentence(recipes: object, seen: str) -> None:
    with pytest.raises(RecipeError, match=seen):
        named(recipes)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2"])
def test_a_bad_number_of_workers_is_refused(workers: object) -> None:
    with pytest.raises(InputError, match=f"workers is {workers!r}; give a whole number"):
        crew_size([Recipe()], workers)


def test_a_worker_for_every_core_that_a_run_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_crew, "usable_cores", lambda: 8)
    ten = [Recipe(seed=seed, device="cpu") for seed in range(10)]
    assert crew_size(ten, None) == 8
    assert crew_size(ten, 3) == 3
    assert crew_size(ten[:4], None) == crew_size(ten[:4], 99) == 4
    assert crew_size([*ten, Recipe(threads=3, device="cpu")], None) == 2
    assert crew_size([Recipe(threads=32, device="cpu")], None) == 1


def test_on_a_gpu_runs_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(_crew, "usable_cores", lambda: 8)
    monkeypatch.setattr(_crew, "choose_device", lambda device: torch.device("cuda"))
    ten = [Recipe(seed=seed) for seed in range(10)]
    assert crew_size(ten, None) == 1
    assert crew_size(ten, 2) == 2


def tasks(tiny: Dataset, recipes: list[Recipe], data: int = 0) -> list[Task]:
    record = data_record(tiny)
    return [Task(str(recipe.seed), recipe, Path(), data, record) for recipe in recipes]


def test_on_a_gpu_runs_that_differ_in_the_seed_alone_are_one_program(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def names(recipes: list[Recipe], **more: int) -> list[list[str]]:
        return [[task.name for task in group] for group in batches(tasks(tiny, recipes, **more))]

    assert names([recipe.model_copy(update={"device": "cpu"}) for recipe in GRID]) == []
    monkeypatch.setattr(_crew, "choose_device", lambda device: torch.device("cuda"))
    assert names(GRID) == [["0", "11"]] * 4
    assert names([Recipe(seed=1), Recipe(seed=2, epochs=7), Recipe(seed=3)]) == [["1", "3"]]
    assert names([Recipe(seed=1), Recipe(seed=2, threads=2)]) == []
    assert names([Recipe(norm="layer", seed=seed) for seed in range(3)]) == []
    on_two_sets = tasks(tiny, [Recipe(seed=1)]) + tasks(tiny, [Recipe(seed=2)], data=1)
    assert batches(on_two_sets) == []


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 50000", 3), ("50000 100000", 1), ("max 100000", 64), ("", 64)]
)
def test_a_containers_quota_counts(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores(file) == cores


def test_the_longest_run_has_the_most_work(tiny: Dataset) -> None:
    def work(**fields: object) -> int:
        record = data_record(tiny)
        return work_left(Task("a", Recipe(**fields), Path(), 0, record), None)

    assert work(epochs=3, hidden=(10,)) == 3 * 130 * (36 * 10 + 10 * 3)
    assert work(epochs=4) > work(epochs=3)
    assert work(hidden=(1000,)) > work(hidden=(100,))


def test_one_recipe_alone_is_no_list() -> None:
    with pytest.raises(RecipeError, match=r"\[recipe\]; this is one recipe"):
        named(Recipe())
