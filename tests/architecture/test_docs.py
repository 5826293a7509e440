"""The pages: what they say follows from the code, and their links lead somewhere."""

import importlib.util
import json
import re
import sys
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageChops

import normscope

ROOT = Path(normscope.__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the docs stand in the repository"
)


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the names of their annotations
    spec.loader.exec_module(module)
    return module


def test_what_the_studies_say_is_what_their_files_say() -> None:
    for file, marker, text in tool("studies").pasted():
        written = file.read_text(encoding="utf-8").split(f"<!-- {marker} -->\n")[1]
        assert written.split(f"\n<!-- end of {marker} -->")[0] == text, "run ./dev studies paste"


def test_what_to_take_home_is_said_where_its_verdicts_came_out_and_nowhere_else() -> None:
    why = tool("why")
    found = why.committed()
    paragraphs = tomllib.loads(why.PLAIN.read_text(encoding="utf-8"))["paragraph"]
    contradicted = {r.key for f in found.values() for r in f.table.rows if "contra" in r.judgement}
    assert contradicted <= {key for each in paragraphs for key in each["verdicts"]}
    for each in paragraphs:
        assert why._paragraph(each, found), f"{each['title']} is not what came out"
        for key in each["verdicts"]:
            other = {name: turned(f, key) for name, f in found.items()}
            assert not why._paragraph(each, other), key


def turned(found: object, key: str) -> object:
    """As if one row had been judged otherwise."""
    rows = tuple(
        row.model_copy(update={"judgement": "another"}) if row.key == key else row
        for row in found.table.rows
    )
    return replace(found, table=found.table.model_copy(update={"rows": rows}))


def test_a_figure_names_its_studies_unless_it_is_the_same_in_all() -> None:
    why = tool("why")
    found = why.committed()
    studies = [found[name] for name in ("notmnist", "mnist", "mnist-one-epoch")]
    first, second, third = (why._figures("L:batch", [one]) for one in studies)
    assert len({first, second, third}) == 3
    assert why._figures("L:batch", studies[:2]) == f"{first} on notMNIST and {second} on MNIST"
    assert why._figures("L:batch", studies) == (
        f"{first} on notMNIST, {second} on MNIST and {third} on MNIST in one epoch"
    )
    assert why._figures("rate:none", studies) == "0.02"


def test_what_the_evidence_says_is_what_its_files_say() -> None:
    for file, marker, text in tool("why").pasted():
        written = file.read_text(encoding="utf-8").split(f"<!-- {marker} -->\n")[1]
        assert written.split(f"\n<!-- end of {marker} -->")[0] == text, "run ./dev why paste"


@pytest.mark.parametrize("page", ["recipe", "run_folder", "study"])
def test_reference_pages_are_what_the_code_says(page: str) -> None:
    written = getattr(tool("reference"), f"{page}_page")()
    committed = (ROOT / "docs" / f"{page.replace('_', '-')}.md").read_text(encoding="utf-8")
    assert committed == written, "run ./dev docs"


def test_rule_pages_are_what_the_rules_say() -> None:
    written = tool("rules").pages()
    committed = {file: file.read_text(encoding="utf-8") for file in written if file.exists()}
    assert committed == written, "run ./dev docs"
    assert set((ROOT / "docs" / "rules").glob("*.md")) == set(written), "run ./dev docs"


def test_what_the_readme_shows_of_a_check_is_what_it_prints() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- check -->\n")[1].split("\n<!-- end of check -->")[0]
    assert without_numbers(shown) == without_numbers(tool("rules").printed()), "run ./dev docs"


def without_numbers(text: str) -> str:
    """Words in order: another machine's matrix library rounds otherwise, and lines break so."""
    return " ".join(re.sub(r"[\d.,]*\d", "#", text).split())


def test_the_readmes_table_is_the_committed_results() -> None:
    results = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))
    assert tool("results").table(results) in (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = sorted(
    page for where in ("*", "docs/*", "docs/rules/*") for page in ROOT.glob(f"{where}.md")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^ {4}.*$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_readmes_picture_is_there_and_is_the_tools() -> None:
    paths = re.findall(r"docs/\S+\.png", "".join(blocks("README.md", "sh|python")))
    assert paths
    assert set(paths) == {"docs/letter.png"}
    with Image.open(ROOT / "docs" / "letter.png") as committed:
        assert committed.size == (288, 288)
        drawn = tool("letters/letter").picture()
        assert ImageChops.difference(committed, drawn).getbbox() is None


def test_every_public_name_is_on_the_page_about_python() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names = {name for name in normscope.__all__ if not name.startswith("_")}
    assert names == {name for name in names if re.search(rf"\b{name}\b", page)}


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_what_the_pages_say_in_python_runs(page: str, tmp_path: Path) -> None:
    """In the order of the page, in one process, as somebody who pastes them."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    pasted: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), pasted)


@pytest.mark.slow
def test_what_the_page_on_folding_says_in_python_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    normscope.train(normscope.Recipe(hidden=(20, 10), epochs=1), out=tmp_path / "runs" / "mine")
    pasted: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, as the page says
        for block in blocks("docs/fold.md", "python"):
            exec(compile(block, "docs/fold.md", "exec"), pasted)
    assert (tmp_path / "folded.onnx").exists()
