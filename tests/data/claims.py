"""What every outcome of `load` must be: a sound data set, or one sentence that names the file."""

from pathlib import Path

import numpy as np

from normscope import _errors
from normscope.data import Dataset, load


def assert_sound(data: Dataset) -> None:
    """All that `Dataset` promises."""
    count = len(data.classes)
    assert count >= 2
    assert all(isinstance(name, str) for name in data.classes)
    for split in (data.train, data.valid, data.test):
        assert split.images.dtype == np.float32
        assert split.images.ndim == 3
        assert split.images.shape[1:] == data.train.images.shape[1:]
        assert split.images.flags.c_contiguous
        assert split.images.flags.writeable
        assert np.isfinite(split.images).all()
        assert split.labels.dtype == np.int64
        assert split.labels.shape == (len(split.images),)
        assert len(split) > 0
        assert split.labels.min() >= 0
        assert split.labels.max() < count
    assert set(data.train.labels.tolist()) == set(range(count))
    assert all(note.endswith(".") and "\n" not in note for note in data.notes)


def assert_teaches(error: BaseException, *words: str) -> None:
    """One sentence, one line, printable, with these words in it."""
    sentence = str(error)
    assert sentence.isprintable(), sentence
    assert sentence.endswith("."), sentence
    assert ". " not in sentence.replace("...", ""), sentence
    assert 20 < len(sentence) < 1200, sentence
    for word in words:
        assert word in sentence, (word, sentence)


def refusal(source: str | Path, *words: str) -> str:
    """The sentence with which `load` refuses; it names the source's file or folder."""
    try:
        load(source)
    except _errors.DataError as error:
        assert_teaches(error, Path(source).name, *words)
        return str(error)
    raise AssertionError(f"{source} was loaded")
