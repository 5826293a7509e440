"""The house: its arrows, its lazy door, and what may not stand in it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import normscope

SOURCES = sorted(Path(normscope.__file__).parent.rglob("*.py"))
ROOMS = {
    "stats", "records", "data", "nn", "anatomy", "training", "probes", "surgery",
    "studies", "doctor", "report", "cli",
}  # fmt: skip


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after `statement`."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    return set(done.stdout.split())


def test_every_room_is_there() -> None:
    root = Path(normscope.__file__).parent
    assert {path.parent.name for path in root.glob("*/__init__.py")} == ROOMS


def test_importing_the_package_loads_next_to_nothing() -> None:
    modules = imported_by("import normscope")
    assert not {"torch", "numpy", "pydantic", "rich", "typer"} & modules


@pytest.mark.parametrize("room", ["records", "data", "report", "cli"])
def test_rooms_that_need_no_torch_do_not_load_it(room: str) -> None:
    assert "torch" not in imported_by(f"import normscope.{room}")


def test_the_door_to_torch_does_load_it() -> None:
    """The control of the two tests above: they would see torch if it came."""
    assert "torch" in imported_by("import normscope; normscope.train")


def test_every_public_name_of_the_door_is_there_and_documented() -> None:
    for name in normscope.__all__:
        public = getattr(normscope, name)
        assert isinstance(public, str) or public.__doc__, name


def test_every_error_that_reaches_a_person_can_be_caught_by_a_public_name() -> None:
    rooms = "".join(f"; import normscope.{room}" for room in sorted(ROOMS))
    code = f"""
import normscope{rooms}
def below(kind):
    return {{kind}}.union(*map(below, kind.__subclasses__()))
print(*(kind.__name__ for kind in below(normscope.NormscopeError)))
for kind in below(normscope.NormscopeError):
    assert getattr(normscope, kind.__name__) is kind
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"DataError", "RunsFailedError", "WorkerError"} <= set(done.stdout.split())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = normscope.no_such_name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_functions_fit_on_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 62, f"{path.name}: {node.name} has {lines} lines"


def test_the_import_contracts_hold() -> None:
    root = Path(normscope.__file__).parents[2]
    if not (root / "pyproject.toml").exists():
        pytest.skip("the contracts stand in the repository's pyproject.toml")
    importlinter = pytest.importorskip("importlinter.cli")
    assert importlinter.lint_imports(config_filename=str(root / "pyproject.toml")) == 0
