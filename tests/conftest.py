"""What every test gets: one thread, a fixed random state, and small data to train on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from normscope.data import Dataset, Split

hypothesis.settings.register_profile("the same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("the same")  # what lands hangs on no luck: `./dev search`


def pytest_configure() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C; the tests send some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write `runs/` below the current folder: let that be a temporary one."""
    monkeypatch.chdir(tmp_path)


def bars(rows: int, seed: int) -> Split:
    """Pictures of 6 x 6 with one bright row out of three, plus noise: easy, and not trivial."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    images = random.normal(-0.5, 0.3, size=(rows, 6, 6)).astype(np.float32)
    images[np.arange(rows), 2 * labels] += 0.5
    return Split(images=images, labels=labels.astype(np.int64))


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Three classes, 6 x 6, 130 + 30 + 60 rows."""
    return Dataset(
        name="bars",
        source="bars",
        classes=("top", "middle", "bottom"),
        train=bars(130, 0),
        valid=bars(30, 1),
        test=bars(60, 2),
    )


def write_npz(path: Path, dataset: Dataset) -> Path:
    """A data set as a file that any command takes."""
    arrays = {
        f"{name}_{kind}": getattr(split, attribute)
        for name, split in (
            ("train", dataset.train),
            ("valid", dataset.valid),
            ("test", dataset.test),
        )
        for kind, attribute in (("dataset", "images"), ("labels", "labels"))
    }
    np.savez(path, **arrays)
    return path


@pytest.fixture
def tiny_file(tiny: Dataset, tmp_path: Path) -> Path:
    """`tiny` as an npz file."""
    return write_npz(tmp_path / "bars.npz", tiny)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with MNIST, Fashion-MNIST and notMNIST, where this machine has it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("NORMSCOPE_DATA", beside))
    if not path.is_dir():
        pytest.skip("real data: neither NORMSCOPE_DATA nor ../shared/data is there")
    return path
