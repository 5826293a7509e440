"""The page about repairs: what it says runs, and it names every repair that there is."""

import re
from pathlib import Path

import pytest

from normscope import surgery

PAGE = Path(__file__).parents[2] / "docs" / "repairs.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the docs stand in the repository")


def test_what_it_says_in_python_runs() -> None:
    """In the order of the page, in one process, as somebody who pastes it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    pasted: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), pasted)
    assert len(blocks) == 7


def test_it_names_every_repair() -> None:
    repairs = {name for name in vars(surgery) if name[0].islower()}
    assert "freeze" in repairs
    page = PAGE.read_text("utf-8")
    assert repairs == {name for name in repairs if re.search(rf"\b{name}\b", page)}
