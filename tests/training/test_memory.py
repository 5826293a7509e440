"""Peak memory of the default run: one and a half times what it has to hold, besides PyTorch itself.

What it has to hold are the data as it trains on them (float32 images, int64 labels), the weights,
and Adam's two moments. "PyTorch itself" is a process that imports torch and makes one step of a
small network: the compiler that torch.optim brings along, and kernels that load when first used,
come to as much as a small data set.

A mark is the resident set's high-water mark of a process that began afresh, from /proc. (Not
``ru_maxrss``: a process inherits that one from the process that started it.)
"""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from normscope.data import load
from normscope.records import Recipe

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the high-water mark is read from /proc"
)

WIDTHS = [784, *Recipe().hidden, 10]
MIB = 2**20
# Allocators keep what was freed; the figures of the same program differ by a few of these.
LEEWAY = 8

TORCH_ITSELF = """
import torch
from torch import nn
network = nn.Sequential(nn.Linear(784, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
optimizer = torch.optim.Adam(network.parameters(), fused=True)
rows, labels = torch.zeros(120, 784), torch.zeros(120, dtype=torch.int64)
nn.functional.cross_entropy(network(rows), labels).backward()
optimizer.step()
"""
TRAINING = """
import normscope
from normscope.training import train
train(normscope.Recipe(epochs=1), out="run")
"""
SECOND_COPY = """
import normscope
second = normscope.load_data("letters")
"""
HIGH_WATER = """
from pathlib import Path
status = Path("/proc/self/status").read_text(encoding="utf-8")
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def high_water(program: str) -> float:
    """The most memory, in MiB, that a fresh process holds while it runs `program`."""
    command = [sys.executable, "-c", program + HIGH_WATER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


@pytest.fixture(scope="module")
def bound() -> float:
    """PyTorch itself and one and a half times the data, the weights and Adam's moments."""
    letters = load("letters")
    splits = letters.train, letters.valid, letters.test
    data = sum(split.images.nbytes + split.labels.nbytes for split in splits)
    weights = 4 * sum(a * b for a, b in itertools.pairwise(WIDTHS))
    return high_water(TORCH_ITSELF) + 1.5 * (data + 3 * weights) / MIB + LEEWAY


def test_the_default_run_stays_within_the_bound(bound: float) -> None:
    assert high_water(TRAINING) <= bound


def test_with_a_second_copy_of_the_rows_it_would_not(bound: float) -> None:
    """The control: the bound sees a copy of the data."""
    assert high_water(SECOND_COPY + TRAINING) > bound
