"""The same trainings: one after another, or many at once. A step is all of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import normscope as ns
from benchmarks.contestants.data import noise
from benchmarks.worker import Pace


def one_by_one(pace: Pace, *, seeds: int, epochs: int, rows: dict[str, int], out: str) -> None:
    """`normscope.train`, in this process."""
    dataset = noise(**rows)
    for folder in _fresh(out):
        pace()
        for seed in range(seeds):
            ns.train(ns.Recipe(seed=seed, epochs=epochs), dataset, out=folder / str(seed))


def at_once(pace: Pace, *, seeds: int, epochs: int, rows: dict[str, int], out: str) -> None:
    """`normscope.train_many`: its workers' start counts."""
    dataset = noise(**rows)
    recipes = [ns.Recipe(seed=seed, epochs=epochs) for seed in range(seeds)]
    for folder in _fresh(out):
        pace()
        ns.train_many(recipes, dataset, out=folder)


def _fresh(out: str) -> Iterator[Path]:
    """Folders that do not exist yet, each gone when the next is asked for."""
    number = 0
    while True:
        folder = Path(out, str(number))
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
        number += 1
