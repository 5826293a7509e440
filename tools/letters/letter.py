"""Draw `docs/letter.png`, the picture that the README predicts: the test set's first G.

Dark on light, eight times as large, with a margin, as a person would bring it.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import normscope as ns

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "letter.png"
LETTER = "G"
TIMES, MARGIN = 8, 32


def picture() -> Image.Image:
    """The letter as a grey picture."""
    data = ns.load_data("letters")
    row = np.flatnonzero(data.test.labels == data.classes.index(LETTER))[0]
    paper = np.round(255 * (0.5 - data.test.images[row])).astype(np.uint8)
    large = Image.fromarray(paper).resize((TIMES * paper.shape[1], TIMES * paper.shape[0]))
    page = Image.new("L", (large.width + 2 * MARGIN, large.height + 2 * MARGIN), 255)
    page.paste(large, (MARGIN, MARGIN))
    return page


if __name__ == "__main__":
    picture().save(PICTURE, optimize=True)
    print(PICTURE)
