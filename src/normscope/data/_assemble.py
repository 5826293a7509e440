"""From what a file says to a `Dataset`: the checks that every format shares."""

import numpy as np

from normscope._errors import DataError
from normscope.data._contents import ROLES, Array, Contents, Table
from normscope.data._dataset import Dataset, Split
from normscope.data._labels import check_known, class_numbers, lowest_label
from normscope.data._pixels import as_float32, as_pictures, of_any_shape, pixel_range
from normscope.data._text import listed

# Which rows are held out is a property of the data, not of a run: every seed sees the same split.
SEED = 1502_03167


def assemble(contents: Contents, *, name: str, source: str, valid_fraction: float) -> Dataset:
    """Check everything, cut the splits that are missing from the training rows, scale the pixels.

    Whatever is wrong ends in a `DataError` that names the file, the key and the row.
    """
    tables = contents.tables
    shaped = as_pictures if contents.pictures else of_any_shape
    pictures = {role: shaped(table.images, table.images_at) for role, table in tables.items()}
    labels = {role: class_numbers(table.labels, table.labels_at) for role, table in tables.items()}
    for role, table in tables.items():
        _check_pair(pictures[role], labels[role], table)
        _check_size(pictures[role], pictures["train"], table, tables["train"])
    lowest, classes = _classes(contents, labels["train"])
    for role, table in tables.items():
        check_known(labels[role], lowest, len(classes), table.labels_at)
    ranges = {role: pixel_range(pictures[role], table.images_at) for role, table in tables.items()}
    notes = list(contents.notes)
    if contents.pictures:  # a function of somebody's own has the scale that it wants
        notes += _scale_notes(pictures["train"], *ranges["train"])
    rows = _rows(labels["train"], tables, valid_fraction, classes, lowest)
    if missing := [role for role in ROLES if role not in tables]:
        notes.append(_cut_note(missing, rows, len(labels["train"])))
    splits = {}
    for role in ROLES:
        held = role if role in tables else "train"
        chosen = rows.get(role)
        numbers = labels[held] if chosen is None else labels[held][chosen]
        splits[role] = Split(as_float32(pictures[held], chosen), numbers - lowest)
        notes += _absence_notes(role, splits[role], classes)
    return Dataset(name, source, classes, **splits, notes=tuple(notes))


def _check_pair(images: Array, labels: Array, table: Table) -> None:
    if len(images) != len(labels):
        msg = (
            f"{table.images_at} has {len(images)} rows, but {table.labels_at} has {len(labels)}; "
            "each image needs one label."
        )
        raise DataError(msg)


def _check_size(images: Array, first: Array, table: Table, train: Table) -> None:
    if images.shape[1:] != first.shape[1:]:
        msg = (
            f"{table.images_at} has images of {_size(images)} pixels, but {train.images_at} of "
            f"{_size(first)}; make every split the same size."
        )
        raise DataError(msg)


def _size(images: Array) -> str:
    return "x".join(map(str, images.shape[1:]))


def _classes(contents: Contents, labels: Array) -> tuple[int, tuple[str, ...]]:
    train = contents.tables["train"]
    lowest = lowest_label(labels, train)
    count = int(labels.max()) - lowest + 1
    if contents.classes is None:
        return lowest, tuple(str(lowest + label) for label in range(count))
    if lowest != 0 or count != len(contents.classes):
        msg = (
            f"{train.labels_at} has rows of {count} classes from {lowest}, but the source names "
            f"{len(contents.classes)}: {listed(contents.classes)}."
        )
        raise DataError(msg)
    return lowest, contents.classes


def _rows(
    labels: Array,
    tables: dict[str, Table],
    fraction: float,
    classes: tuple[str, ...],
    lowest: int,
) -> dict[str, Array]:
    """Which training rows go where: none if the source has every split.

    Stratified: each missing split takes the same fraction of each class, at least one row.

    Raises:
        DataError: if a class has too few rows.
    """
    missing = [role for role in ROLES if role not in tables]
    if not missing:
        return {}
    # RandomState's streams are frozen for good (NEP 19); those of default_rng may change.
    random = np.random.RandomState(SEED)
    taken: dict[str, list[Array]] = {role: [] for role in ["train", *missing]}
    for number, name in enumerate(classes):
        members = random.permutation(np.flatnonzero(labels == number + lowest))
        size = max(1, int(fraction * len(members) + 0.5))
        if len(members) <= size * len(missing):
            msg = (
                f"{tables['train'].labels_at} has {len(members)} of class {name}, too few to hold "
                f"out {size} for each of {' and '.join(missing)}; add rows of that class."
            )
            raise DataError(msg)
        for part, role in enumerate(missing):
            taken[role].append(members[part * size : (part + 1) * size])
        taken["train"].append(members[len(missing) * size :])
    # In the order of the file, so that reading memory stays sequential.
    return {role: np.sort(np.concatenate(parts)) for role, parts in taken.items()}


def _cut_note(missing: list[str], rows: dict[str, Array], total: int) -> str:
    parts = " and ".join(f"{len(rows[role]):,} rows for {role}" for role in missing)
    return (
        f"The source has no {' and no '.join(missing)} split: {parts} were held out from its "
        f"{total:,} training rows, the same share of each class, and the same rows every time."
    )


def _scale_notes(images: Array, low: float, high: float) -> list[str]:
    if images.dtype.kind != "f" or (low >= -1 and high <= 1):
        return []
    return [f"The pixels are floats from {low:g} to {high:g}, and were left on that scale."]


def _absence_notes(role: str, split: Split, classes: tuple[str, ...]) -> list[str]:
    present = set(np.unique(split.labels).tolist())
    absent = [name for number, name in enumerate(classes) if number not in present]
    return [f"The {role} split has no row of class {listed(absent)}."] if absent else []
