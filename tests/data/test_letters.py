"""The letters that the package ships: what is in them, what is not, and whose they are."""

import csv
import hashlib
from importlib import resources

import numpy as np
import pytest

SPLITS = ("train", "valid", "test")
ALLOWED = {"OFL-1.1", "Apache-2.0", "MIT", "BSD-3-Clause", "Bitstream-Vera", "CC0-1.0"}
FOLDER = resources.files("normscope.data") / "letters"


@pytest.fixture(scope="module")
def letters():
    with (FOLDER / "letters.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def fonts():
    with (FOLDER / "FONTS.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_it_holds_three_splits_of_images_labels_and_families(letters):
    assert set(letters) == {
        f"{split}_{part}" for split in SPLITS for part in ("dataset", "labels", "family")
    }
    for split in SPLITS:
        images, labels = letters[f"{split}_dataset"], letters[f"{split}_labels"]
        family = letters[f"{split}_family"]
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), 28, 28)
        assert labels.dtype == np.uint8
        assert family.dtype == np.int16
        assert family.shape == labels.shape


def test_it_is_large_enough_to_learn_from_and_small_enough_to_ship(letters):
    rows = {split: len(letters[f"{split}_labels"]) for split in SPLITS}
    assert rows["train"] >= 9000
    assert rows["valid"] >= 1000
    assert 1500 <= rows["test"] <= 2000
    assert len((FOLDER / "letters.npz").read_bytes()) <= 2_600_000


@pytest.mark.parametrize("split", SPLITS)
def test_every_family_brings_each_letter_as_often(letters, split):
    labels, family = letters[f"{split}_labels"], letters[f"{split}_family"]
    for number in np.unique(family):
        counts = np.bincount(labels[family == number], minlength=10)
        assert counts.shape == (10,)
        assert len(set(counts)) == 1, f"family {number}: {counts}"


def test_no_image_stands_twice_in_any_split_or_two(letters):
    images = np.concatenate([letters[f"{split}_dataset"] for split in SPLITS])
    assert len({image.tobytes() for image in images}) == len(images)


def test_no_family_is_on_two_sides(letters, fonts):
    sides = {split: set(letters[f"{split}_family"].tolist()) for split in SPLITS}
    assert not sides["train"] & sides["valid"]
    assert not sides["train"] & sides["test"]
    assert not sides["valid"] & sides["test"]
    for split in SPLITS:
        assert sides[split] == {i for i, font in enumerate(fonts) if font["split"] == split}


def test_no_design_is_on_two_sides_under_two_names(letters):
    """Families by other names with the same letters would show the test set in training."""
    designs = {split: _mean_letters(letters, split) for split in SPLITS}
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
        gaps = np.abs(designs[one][:, None] - designs[other][None]).mean((2, 3))
        assert gaps.min() > 3.0, (one, other)


def _mean_letters(letters, split):
    """Each family's mean image of each letter, one row a family."""
    images, labels = letters[f"{split}_dataset"].astype(np.float32), letters[f"{split}_labels"]
    family = letters[f"{split}_family"]
    return np.stack(
        [
            np.stack([images[(family == f) & (labels == c)].mean(0).ravel() for c in range(10)])
            for f in np.unique(family)
        ]
    )


def test_the_rows_are_shuffled(letters):
    """A batch that is a run of rows then holds every letter, and many families."""
    for split in SPLITS:
        for start in (0, len(letters[f"{split}_labels"]) - 120):
            rows = slice(start, start + 120)
            assert len(np.unique(letters[f"{split}_labels"][rows])) == 10
            assert len(np.unique(letters[f"{split}_family"][rows])) > 20


def test_the_ink_touches_all_four_borders(letters):
    for split in SPLITS:
        ink = letters[f"{split}_dataset"] > 0
        for side, edge in {
            "top": ink[:, 0],
            "bottom": ink[:, -1],
            "left": ink[:, :, 0],
            "right": ink[:, :, -1],
        }.items():
            assert edge.any(1).all(), (split, side)


def test_only_an_i_may_fill_its_whole_box_and_nothing_is_blank(letters):
    """The I of a sans serif, stretched to a square, is white all over; so it is in notMNIST."""
    for split in SPLITS:
        shade = letters[f"{split}_dataset"].mean((1, 2))
        assert shade.min() > 255 * 0.01
        full = shade > 255 * 0.98
        assert (letters[f"{split}_labels"][full] == "ABCDEFGHIJ".index("I")).all()


def test_the_ink_is_white_and_antialiased(letters):
    images = letters["train_dataset"]
    between = (images > 0) & (images < 255)
    assert np.median(images.max((1, 2))) == 255
    assert 0.1 < between.mean() < 0.5
    assert images[:, 0, 0].mean() < 128


def test_a_letter_resembles_its_own_letter_more_than_the_others(letters):
    """The labels are right: even the nearest of ten mean images mostly tells the letter."""
    images, labels = letters["train_dataset"].astype(np.float32), letters["train_labels"]
    means = np.stack([images[labels == c].mean(0).ravel() for c in range(10)])
    test = letters["test_dataset"].reshape(-1, 784).astype(np.float32)
    nearest = ((means**2).sum(1) - 2.0 * test @ means.T).argmin(1)
    assert (nearest == letters["test_labels"]).mean() > 0.7


def test_every_family_has_a_maker_and_an_allowed_licence_whose_text_is_here(fonts):
    licences = FOLDER / "licenses"
    notices = (licences / "ATTRIBUTION.txt").read_text(encoding="utf-8")
    for font in fonts:
        assert font["licence"] in ALLOWED, font
        assert len(font["copyright"]) > 8, font
        assert font["copyright"] in notices, font
        assert font["family"] in notices, font
        assert (licences / f"{font['licence']}.txt").is_file(), font
    texts = {path.name for path in licences.iterdir()} - {"ATTRIBUTION.txt"}
    assert texts == {f"{font['licence']}.txt" for font in fonts}, "no text that nothing needs"


def test_the_list_of_fonts_counts_what_is_there(letters, fonts):
    names = [font["family"].casefold() for font in fonts]
    assert len(set(names)) == len(names)
    for number, font in enumerate(fonts):
        family = letters[f"{font['split']}_family"]
        assert int(font["styles"]) * 10 == (family == number).sum(), font


def test_the_papers_name_the_counts(letters):
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for split in SPLITS:
        assert f"{len(letters[f'{split}_labels']):,}" in readme
    digest = hashlib.sha256((FOLDER / "letters.npz").read_bytes()).hexdigest()
    assert digest in readme
