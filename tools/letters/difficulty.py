"""How hard the letters are: a linear classifier and a small network on them, and on notMNIST.

Prints the table of `src/normscope/data/letters/README.md`. Test accuracy after 30 epochs,
without any norm, plain weights, Adam 0.001, batches of 120, one seed. notMNIST is left out, by
name, where ``NORMSCOPE_DATA`` does not point to it.
"""

import os
from pathlib import Path

import normscope as ns

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
NOTMNIST = Path(os.environ.get("NORMSCOPE_DATA", SHARED)) / "notmnist" / "notMNIST.pickle.gz"
NETWORKS = {"linear": (), "256 and 128 hidden units": (256, 128)}


def accuracy(source: str, hidden: tuple[int, ...]) -> float:
    """Percent of the test split."""
    recipe = ns.Recipe(norm="none", weights="plain", learning_rate=0.001, epochs=30, hidden=hidden)
    run = ns.train(recipe, source).run
    assert run.test is not None
    return run.test.running.accuracy


def main() -> None:
    """Print the table."""
    sources = {"letters": "letters"}
    if NOTMNIST.exists():
        sources["notMNIST"] = str(NOTMNIST)
    else:
        print(f"left out: notMNIST, which is not in NORMSCOPE_DATA ({NOTMNIST})")
    print(f"| test accuracy | {' | '.join(NETWORKS)} |\n| --- | --- | --- |")
    for name, source in sources.items():
        cells = (f"{accuracy(source, hidden):.1f} %" for hidden in NETWORKS.values())
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
