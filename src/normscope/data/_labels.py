"""From labels as people store them to class numbers from 0."""

import numpy as np

from normscope._errors import DataError
from normscope.data._contents import Array, Table
from normscope.data._text import listed


def class_numbers(labels: Array, at: str) -> Array:
    """Understand class numbers, whole floats and one-hot rows alike.

    Args:
        labels: ``[rows]``, ``[rows, 1]`` or one-hot ``[rows, classes]``.
        at: the start of a sentence on these labels.

    Returns:
        int64 ``[rows]``, none negative.

    Raises:
        DataError: if a row is not a class number; the message names the row.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape[1] > 1:
        return _from_one_hot(labels, at)
    if labels.ndim != 1:
        msg = (
            f"{at} has shape {list(labels.shape)}; labels must be [rows], or one-hot "
            "[rows, classes]."
        )
        raise DataError(msg)
    # As float64, since float16 cannot hold the bound that keeps the cast to int64 sound.
    values = labels.astype(np.float64) if labels.dtype.kind == "f" else labels
    wrong = ~((values >= 0) & (values < 2**31))
    if labels.dtype.kind == "f":
        wrong |= values != np.floor(np.where(wrong, 0, values))
    if wrong.any():
        row = int(wrong.argmax())
        msg = (
            f"{at} row {row} is {labels[row]}; labels must be the whole numbers 0, 1, 2, …: "
            "correct the row or remove it."
        )
        raise DataError(msg)
    return labels.astype(np.int64)


def _from_one_hot(labels: Array, at: str) -> Array:
    ones = labels == 1
    wrong = (ones.sum(axis=1) != 1) | ~(ones | (labels == 0)).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        msg = (
            f"{at} row {row} is [{listed([str(value) for value in labels[row]])}]; "
            "a one-hot row holds a single 1 and zeros: correct the row, or store class numbers."
        )
        raise DataError(msg)
    numbers: Array = np.argmax(ones, axis=1).astype(np.int64)
    return numbers


def lowest_label(labels: Array, table: Table) -> int:
    """Find whether the classes count from 0 or, as in EMNIST letters, from 1.

    The number of classes is that of the distinct training labels, which must follow one another:
    that holds for 10 classes as for 47, and a stray 106 among digits leaves a gap.

    Args:
        labels: training labels from `class_numbers`.
        table: where they came from.

    Raises:
        DataError: if the labels leave a gap; the message names the first row above it.
    """
    at = table.labels_at
    present = np.unique(labels)
    lowest = 1 if present[0] == 1 else 0
    expected = np.arange(lowest, lowest + len(present))
    seen = listed([str(label) for label in present])
    if (present != expected).any():
        gap = int(expected[(present != expected).argmax()])
        row = int((labels > gap).argmax())
        msg = (
            f"{at} row {row} is {labels[row]}, but no training row is of class {gap} (present are "
            f"{seen}); labels must follow one another without a gap: correct or remove the row, "
            "or renumber the classes."
        )
        raise DataError(msg)
    if len(present) < 2:
        msg = f"{at} holds {seen} in every row; to tell classes apart takes at least 2."
        raise DataError(msg)
    if table.labels.ndim == 2 and table.labels.shape[1] > max(1, len(present)):
        msg = (
            f"{at} has {table.labels.shape[1]} one-hot columns, but no training row is of class "
            f"{len(present)}; add rows of that class, or drop the column."
        )
        raise DataError(msg)
    return lowest


def check_known(labels: Array, lowest: int, count: int, at: str) -> None:
    """Refuse a label that no training row has.

    Raises:
        DataError: if there is one; the message names its row.
    """
    wrong = (labels < lowest) | (labels >= lowest + count)
    if wrong.any():
        row = int(wrong.argmax())
        msg = (
            f"{at} row {row} is {labels[row]}, a class without training rows "
            f"(those have {lowest} to {lowest + count - 1}); correct or remove the row."
        )
        raise DataError(msg)
