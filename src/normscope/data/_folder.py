"""A folder of images per class, split into train, valid and test or not."""

from pathlib import Path

import numpy as np

from normscope._errors import DataError
from normscope.data._contents import Array, Contents, Table
from normscope.data._limits import allowance
from normscope.data._picture import Gallery
from normscope.data._text import listed, shown

_SPLITS = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
# What file managers leave behind. Hidden files (.DS_Store) are the other kind.
_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}

_Files = list[tuple[Path, int]]


def read_folder(folder: Path) -> Contents:
    """Read ``folder/CLASS/*.png``, or ``folder/{train,valid,test}/CLASS/*.png``.

    Images of all sizes but one, files that are no images, and empty folders are a `DataError`.
    """
    skipped: list[str] = []
    roots = _split_folders(folder, _subfolders(folder, skipped))
    classes = [path.name for path in _class_folders(roots["train"], skipped)]
    files = {role: _files(root, classes, skipped) for role, root in roots.items()}
    gallery = Gallery()
    tables = {}
    for role, members in files.items():
        at = shown(roots[role])
        labels = np.array([label for _, label in members])
        tables[role] = Table(_images(members, gallery, roots[role]), labels, at, at)
    # A folder is looked at more than once, but what was skipped in it is said once.
    unique = sorted(set(skipped))
    notes = [f"Skipped, as no images: {listed(unique)}."] if unique else []
    return Contents(folder, tables, tuple(classes), notes + gallery.notes())


def _split_folders(folder: Path, inside: list[Path]) -> dict[str, Path]:
    """Say which folder holds which split; all is ``"train"`` where there are none.

    Raises:
        DataError: if the folders are partly splits and partly not, or two are the same split.
    """
    roles: dict[str, Path] = {}
    others = []
    for path in inside:
        role = _SPLITS.get(path.name.lower())
        if role is None:
            others.append(path)
        elif role in roles:
            msg = f"{shown(folder)} has two folders for {role}; keep one of {listed(_SPLIT_NAMES)}."
            raise DataError(msg)
        else:
            roles[role] = path
    # A "train" among "car" and "ship" is a vehicle.
    if others and not {"train", "test"} <= roles.keys():
        return {"train": folder}
    if others or not {"train", "test"} <= roles.keys():
        names = listed([path.name for path in inside])
        msg = (
            f"{shown(folder)} holds the folders {names}; give it train and test, and valid where "
            "there is one, or else one folder per class."
        )
        raise DataError(msg)
    return roles


_SPLIT_NAMES = list(_SPLITS)


def _visible(folder: Path, skipped: list[str]) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _LITTER:
            skipped.append(path.name)
        else:
            found.append(path)
    return found


def _subfolders(folder: Path, skipped: list[str]) -> list[Path]:
    """Give the folders in a folder that may hold nothing else.

    Raises:
        DataError: if a file lies among them, or there are none.
    """
    found = _visible(folder, skipped)
    for path in found:
        if not path.is_dir():
            msg = f"{shown(path)} lies beside folders of images; move it away, or into its class."
            raise DataError(msg)
    if not found:
        msg = f"{shown(folder)} holds no folder; put one folder of images there per class."
        raise DataError(msg)
    return found


def _class_folders(folder: Path, skipped: list[str]) -> list[Path]:
    found = _subfolders(folder, skipped)
    if all(path.name.isdecimal() for path in found):
        return sorted(found, key=lambda path: int(path.name))
    return found


def _files(root: Path, classes: list[str], skipped: list[str]) -> _Files:
    """List every image of a split with its class.

    Raises:
        DataError: if a class is empty, has a folder in it, or is not among those of train.
    """
    files: _Files = []
    for folder in _class_folders(root, skipped):
        if folder.name not in classes:
            msg = (
                f"{shown(folder)} is a class without training images (those are {listed(classes)})."
            )
            raise DataError(msg)
        inside = _visible(folder, skipped)
        if not inside:
            msg = f"{shown(folder)} holds no image; add images of that class, or remove the folder."
            raise DataError(msg)
        for path in inside:
            if not path.is_file():
                msg = f"{shown(path)} is not a file; a class folder holds images alone."
                raise DataError(msg)
            files.append((path, classes.index(folder.name)))
    return files


def _images(members: _Files, gallery: Gallery, root: Path) -> Array:
    """Read the images into one array.

    Raises:
        DataError: if they would take far more memory than disk.
    """
    first = gallery.read(members[0][0])
    stored = sum(path.stat().st_size for path, _ in members)
    if len(members) * first.size > (limit := allowance(stored)):
        msg = (
            f"{shown(root)} would unpack to {len(members) * first.size:,} bytes, more than the "
            f"{limit:,} that we allow images of its size on disk; scale the images down."
        )
        raise DataError(msg)
    images = np.empty((len(members), *first.shape), np.uint8)
    for row, (path, _) in enumerate(members):
        images[row] = gallery.read(path)
    return images
