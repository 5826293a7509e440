"""The most memory that a process ever held: ``python -m benchmarks.contestants.memory WHAT``."""

import json
import resource
import sys
import tempfile
from pathlib import Path

import torch

import normscope as ns


def torch_alone() -> float:
    """PyTorch, and one small step of it, so that its libraries are loaded; bytes of its own: 0."""
    network = torch.nn.Linear(10, 10)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    network(torch.zeros(5, 10)).sum().backward()
    optimizer.step()
    return 0.0


def default_run() -> float:
    """Two epochs of the default run, with a run folder; bytes of data, weights and moments.

    Without the TensorBoard extra, which loads TensorFlow wherever that is installed.
    """
    sys.modules["tensorboard"] = None  # type: ignore[assignment]
    dataset = ns.load_data("letters")
    splits = (dataset.train, dataset.valid, dataset.test)
    data = sum(split.images.nbytes + split.labels.nbytes for split in splits)
    with tempfile.TemporaryDirectory() as folder:
        result = ns.train(ns.Recipe(epochs=2, device="cpu"), dataset, out=Path(folder, "run"))
    weights = sum(value.nbytes for value in result.network.state_dict().values())
    moments = 2 * sum(value.nbytes for value in result.network.parameters())
    return float(data + weights + moments)


def main(what: str) -> None:
    """Do it, and print the high-water mark and the bytes that had to be held, in MB."""
    held = {"torch": torch_alone, "run": default_run}[what]()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":  # there it is bytes
        kilobytes /= 1024
    print(json.dumps({"peak": kilobytes / 1e3 * 1.024, "held": held / 1e6}))


if __name__ == "__main__":
    main(sys.argv[1])
