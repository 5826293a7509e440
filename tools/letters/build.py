"""Build the letters A to J that Normscope ships, from freely licensed fonts.

Five stages, in this order::

    fetch    download the pinned packages of fonts.tsv with apt-get and npm, and unpack them
    render   draw A to J in every style of every family, 28 x 28, white on black
    select   leave out what is there twice; at most a few styles per family
    split    deal whole families out to train, valid and test
    write    letters.npz, FONTS.tsv, ATTRIBUTION.txt and, if asked for, a contact sheet

The same font files and the same versions of the libraries give the same bytes.
See README.md beside this file.
"""

import argparse
import csv
import fnmatch
import io
import shutil
import subprocess
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

LETTERS = "ABCDEFGHIJ"
SIDE = 28
"""Pixels along each side of an image, as in MNIST and notMNIST."""
EM = 256
"""Pixels per em at which a letter is drawn before it is scaled down."""
SAME_DESIGN = 20.0
"""Two styles whose letters differ by less than this (root mean square, of 255) are one design."""
STYLES_PER_FAMILY = 5
STYLES = {"test": 180, "valid": 110}
"""Styles, ten images each, in the two smaller splits; the rest is for training."""
SPLITS = ("train", "valid", "test")
SEED = 0
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Family:
    """A row of fonts.tsv: one family, and where it comes from.

    Attributes:
        name: what its maker calls it.
        package: a Debian package (``fonts-...``) or an npm package (``@fontsource/...``).
        version: the pinned version of that package.
        files: the pattern of its font files' names within the package.
        licence: SPDX identifier.
        copyright: its maker's notice, reserved font names included.
    """

    name: str
    package: str
    version: str
    files: str
    licence: str
    copyright: str

    @property
    def folder(self) -> str:
        """Where its package is unpacked, relative to the cache."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}"


@dataclass(frozen=True, eq=False)
class Style:
    """One font file, drawn: a weight or a slope of a family.

    Attributes:
        family: the family that it belongs to.
        name: the font file's name.
        images: uint8, ``[10, 28, 28]``, in the order of the letters.
    """

    family: Family
    name: str
    images: np.ndarray


# ---------------------------------------------------------------------------------------- fetch


def fetch(families: Iterable[Family], cache: Path) -> None:
    """Download and unpack, one after the other, the packages that the cache does not hold yet."""
    for family in sorted(families, key=lambda family: family.folder):
        folder = cache / family.folder
        if not folder.exists():
            print(f"fetch {family.package} {family.version}")
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            unpack = _unpack_npm if family.package.startswith("@") else _unpack_debian
            unpack(family, partial)
            partial.rename(folder)


def _unpack_npm(family: Family, folder: Path) -> None:
    subprocess.run(
        ["npm", "pack", "--silent", f"{family.package}@{family.version}"], cwd=folder, check=True
    )
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as package:
        package.extractall(folder, filter="data")
    archive.unlink()


def _unpack_debian(family: Family, folder: Path) -> None:
    subprocess.run(
        ["apt-get", "download", f"{family.package}={family.version}"], cwd=folder, check=True
    )
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg", "-x", archive.name, "."], cwd=folder, check=True)
    archive.unlink()


# --------------------------------------------------------------------------------------- render


def render(families: Iterable[Family], cache: Path) -> Iterator[Style]:
    """Draw every style that has all ten letters.

    Raises:
        FileNotFoundError: if a family's pattern matches no file.
    """
    for family in families:
        files = sorted(
            path
            for path in (cache / family.folder).rglob("*")
            if path.is_file() and fnmatch.fnmatchcase(path.name, family.files)
        )
        if not files:
            message = f"{family.package} {family.version} has no file {family.files}"
            raise FileNotFoundError(message)
        for path in files:
            images = draw_letters(path)
            if images is None:
                print(f"left out {family.name}, {path.name}: not all of {LETTERS} are drawn")
            else:
                yield Style(family, path.name, images)


def draw_letters(path: Path) -> np.ndarray | None:
    """All ten letters of a font file; nothing where one is missing, blank or a stand-in."""
    font = TTFont(path)
    characters = font.getBestCmap() or {}
    if any(characters.get(ord(letter), ".notdef") == ".notdef" for letter in LETTERS):
        return None
    font.flavor = None  # from web font to plain font
    plain = io.BytesIO()
    font.save(plain)
    plain.seek(0)
    pen = ImageFont.truetype(plain, EM, layout_engine=ImageFont.Layout.BASIC)
    images = [fit(draw(letter, pen)) for letter in LETTERS]
    if any(image is None for image in images):
        return None
    if len({image.tobytes() for image in images}) < len(LETTERS):
        return None
    return np.stack(images)


def draw(letter: str, pen: ImageFont.FreeTypeFont) -> Image.Image:
    """The letter, large, white on black, with room around it."""
    left, top, right, bottom = pen.getbbox(letter)
    room = EM // 2
    canvas = Image.new("L", (int(right - left) + 2 * room, int(bottom - top) + 2 * room))
    ImageDraw.Draw(canvas).text((room - left, room - top), letter, fill=255, font=pen)
    return canvas


def fit(canvas: Image.Image) -> np.ndarray | None:
    """Crop to the ink and stretch to the square, by the mean over each pixel's area.

    As in notMNIST, the box loses its proportions: the I of a sans serif becomes a white square.
    """
    box = canvas.getbbox()
    if box is None:
        return None
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX, box=box))


# --------------------------------------------------------------------------------------- select


def select(styles: Iterable[Style]) -> list[Style]:
    """The styles to keep, family by family in the order they come.

    Left out are families that share a design with an earlier one (one family under two names must
    not stand on two sides); styles that would bring an image a second time; and, beyond
    ``STYLES_PER_FAMILY``, those that add least.
    """
    by_family: dict[Family, list[Style]] = defaultdict(list)
    for style in styles:
        by_family[style.family].append(style)

    designs = np.empty((0, len(LETTERS) * SIDE * SIDE), np.float32)
    owners: list[str] = []
    seen: set[bytes] = set()
    kept: list[Style] = []
    for family, candidates in by_family.items():
        own = _pixels(candidates)
        gaps = distances(own, designs)
        if gaps.size and gaps.min() < SAME_DESIGN:
            twin = owners[int(gaps.argmin()) % len(owners)]
            print(f"left out {family.name}: the design of {twin} ({gaps.min():.1f})")
            continue
        kept += _varied(candidates, own, seen)
        designs = np.concatenate([designs, own])
        owners += [family.name] * len(own)
    return kept


def _varied(candidates: Sequence[Style], pixels: np.ndarray, seen: set[bytes]) -> list[Style]:
    """A few styles of a family: the most typical first, then each time the most different one."""
    among = distances(pixels, pixels)
    chosen: list[int] = []
    gap = np.full(len(candidates), np.inf)
    gap[among.sum(1).argmin()] = np.finfo(float).max  # the first to be taken
    gap[np.isinf(gap)] = np.finfo(float).max / 2
    while len(chosen) < STYLES_PER_FAMILY and gap.max() >= SAME_DESIGN:
        best = int(gap.argmax())
        gap[best] = 0.0
        images = {image.tobytes() for image in candidates[best].images}
        if images.isdisjoint(seen):
            seen |= images
            chosen.append(best)
            gap = np.minimum(gap, among[best])
    return [candidates[index] for index in sorted(chosen)]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Root mean square difference between each row of ``a`` and each of ``b``."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2.0 * a @ b.T
    return np.sqrt(np.maximum(squares, 0.0) / a.shape[1])


def _pixels(styles: Sequence[Style]) -> np.ndarray:
    return np.stack([style.images.ravel() for style in styles]).astype(np.float32)


# ---------------------------------------------------------------------------------------- split


def split(styles: Sequence[Style]) -> dict[str, list[Style]]:
    """Deal whole families out, in a fixed random order, until each smaller split is full."""
    by_family: dict[Family, list[Style]] = defaultdict(list)
    for style in styles:
        by_family[style.family].append(style)
    families = list(by_family)
    dealt: dict[str, list[Style]] = {name: [] for name in SPLITS}
    for index in np.random.default_rng(SEED).permutation(len(families)):
        members = by_family[families[index]]
        side = next(
            (name for name in STYLES if len(dealt[name]) + len(members) <= STYLES[name]), "train"
        )
        dealt[side] += members
    return dealt


# ---------------------------------------------------------------------------------------- write


def write(dealt: dict[str, list[Style]], folder: Path) -> None:
    """Write the arrays, the list of fonts and their makers' notices."""
    sides = {style.family: side for side, styles in dealt.items() for style in styles}
    families = sorted(sides, key=lambda family: (family.name.casefold(), family.package))
    folder.mkdir(parents=True, exist_ok=True)
    save_npz(folder / "letters.npz", _arrays(dealt, families))

    counts: dict[Family, int] = defaultdict(int)
    for styles in dealt.values():
        for style in styles:
            counts[style.family] += 1
    with (folder / "FONTS.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(
            file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
        )
        table.writerow(["family", "package", "version", "split", "styles", "licence", "copyright"])
        for family in families:
            table.writerow(
                [
                    family.name,
                    family.package,
                    family.version,
                    sides[family],
                    counts[family],
                    family.licence,
                    family.copyright,
                ]
            )
    (folder / "licenses").mkdir(exist_ok=True)
    (folder / "licenses" / "ATTRIBUTION.txt").write_text(_attribution(families), encoding="utf-8")


def _arrays(
    dealt: dict[str, list[Style]], families: Sequence[Family]
) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of each split, its rows in a fixed random order."""
    rng = np.random.default_rng(SEED)
    for side in SPLITS:
        styles = dealt[side]
        images = np.concatenate([style.images for style in styles])
        labels = np.tile(np.arange(len(LETTERS), dtype=np.uint8), len(styles))
        numbers = [families.index(style.family) for style in styles]
        family = np.repeat(np.array(numbers, np.int16), len(LETTERS))
        order = rng.permutation(len(images))
        yield f"{side}_dataset", images[order]
        yield f"{side}_labels", labels[order]
        yield f"{side}_family", family[order]


def save_npz(path: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Like ``numpy.savez_compressed``, but with the same time on every entry: the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays:
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            data = io.BytesIO()
            np.lib.format.write_array(data, array, allow_pickle=False)
            archive.writestr(entry, data.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def _attribution(families: Sequence[Family]) -> str:
    """The notice of every maker, under the licence that it goes with."""
    parts = [
        "The letters in letters.npz were drawn with the fonts below. The fonts themselves are\n",
        "not included. Each licence named here stands in the file of that name beside this one.\n",
    ]
    for licence in sorted({family.licence for family in families}):
        parts.append(f"\n{licence}\n{'-' * len(licence)}\n")
        parts += [
            f"{family.name} ({family.package} {family.version})\n    {family.copyright}\n"
            for family in families
            if family.licence == licence
        ]
    return "".join(parts)


def save_sheet(dealt: dict[str, list[Style]], path: Path, rows: int) -> None:
    """A picture of ten letters in each of some families, two columns of rows."""
    styles = [style for side in SPLITS for style in dealt[side]]
    firsts = list({style.family: style for style in styles}.values())
    step = max(1, len(firsts) // rows)
    strips = [
        np.concatenate(list(np.pad(style.images, ((0, 0), (2, 2), (2, 2)))), axis=1)
        for style in firsts[::step][:rows]
    ]
    half = len(strips) // 2
    columns = [np.concatenate(strips[:half]), np.concatenate(strips[half : 2 * half])]
    Image.fromarray(np.concatenate(columns, axis=1)).save(path, optimize=True)


# ----------------------------------------------------------------------------------------- main


def read_rows(path: Path) -> list[dict[str, str]]:
    """A table of tab-separated values with a first line of names."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def main() -> None:
    """Run the stages one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write letters.npz and its papers to")
    parser.add_argument("--cache", type=Path, required=True, help="folder to keep packages in")
    parser.add_argument("--sheet", type=Path, help="also draw a contact sheet here (PNG)")
    arguments = parser.parse_args()

    families = [Family(**row) for row in read_rows(HERE / "fonts.tsv")]
    fetch(families, arguments.cache)
    dealt = split(select(render(families, arguments.cache)))
    write(dealt, arguments.out)
    if arguments.sheet:
        save_sheet(dealt, arguments.sheet, rows=32)
    for side, styles in dealt.items():
        count = len({style.family for style in styles})
        print(f"{side}: {10 * len(styles)} images, {len(styles)} styles, {count} families")


if __name__ == "__main__":
    main()
