"""Draw the pictures of `docs/report.md` anew: `./dev pictures STUDY`.

A study's page is opened in Chromium, without a network, and parts of it are photographed.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "docs"
PARTS = {
    "rates": ("#rates figure", 580),
    "diagram": ("#letter .drawing", 720),
    "steps": ("#speed figure:has(h3:text-is('Steps to the target'))", 522),
    "percentiles": ("#inside .chosen:first-of-type figure:first-of-type", 500),
}
"""The pictures; what is in them, in CSS, and how tall they are at most: deeper layers are cut."""
COLOURS = 128
"""Enough for lines and letters; the files are small."""


def draw(page: str) -> list[Path]:
    """Photograph the parts of a page; the files."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(
            viewport={"width": 1160, "height": 900}, color_scheme="light", offline=True
        )
        tab = context.new_page()
        tab.goto(file.as_uri())
        drawn = [
            photograph(tab.locator(part).first, name, tallest)
            for name, (part, tallest) in PARTS.items()
        ]
        browser.close()
    return drawn


def photograph(part: object, name: str, tallest: int) -> Path:
    """One part, in few colours."""
    file = DOCS / f"report-{name}.png"
    part.screenshot(path=file)  # type: ignore[attr-defined]
    with Image.open(file) as picture:
        top = picture.crop((0, 0, picture.width, min(picture.height, tallest)))
        few = top.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    return file


def main(arguments: list[str]) -> int:
    """Draw them from the study of this folder or file."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    from normscope.records import Study
    from normscope.report import report_study

    for file in draw(report_study(Study.load(arguments[0]))):
        print(f"{file.relative_to(DOCS.parent)}: {file.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
