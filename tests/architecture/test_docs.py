"""The pages: what they say follows from the code, and their links lead somewhere."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import normscope

ROOT = Path(normscope.__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the docs stand in the repository"
)


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["recipe", "run_folder", "study"])
def test_reference_pages_are_what_the_code_says(page: str) -> None:
    written = getattr(tool("reference"), f"{page}_page")()
    committed = (ROOT / "docs" / f"{page.replace('_', '-')}.md").read_text(encoding="utf-8")
    assert committed == written, "run ./dev docs"


def test_the_readmes_table_is_the_committed_results() -> None:
    results = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))
    assert tool("results").table(results) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name
)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
