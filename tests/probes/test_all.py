"""Every probe is on the list and on the page, and reads what its docstring says."""

import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import normscope
from normscope import probes
from normscope.probes._all import ALL, FREE, SHARED
from normscope.probes._moment import Moment
from normscope.records import Reading

ROOT = Path(normscope.__file__).parents[2]

in_the_repository = pytest.mark.skipif(
    not (ROOT / "tools").is_dir(), reason="the page and its tool stand in the repository"
)


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("probes", ROOT / "tools" / "probes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> list[Reading]:
    return tool().readings(ALL[name]())


def test_every_probe_of_the_folder_is_on_the_list() -> None:
    files = [
        importlib.import_module(f"{probes.__name__}.{each.name}")
        for each in pkgutil.iter_modules(probes.__path__)
    ]
    found = {
        value
        for file in files
        for value in vars(file).values()
        if isinstance(value, type) and isinstance(getattr(value, "name", None), str)
        if hasattr(value, "read") and value.__module__ == file.__name__
    }
    assert found == set(ALL.values())


def test_free_and_shared_ones_are_some_of_them() -> None:
    assert not set(FREE) & set(SHARED)
    assert {*FREE, *SHARED} < set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_it_is_made_by_its_name_and_has_its_defaults(name: str) -> None:
    probe = ALL[name]()
    assert probe.name == name
    assert probe.every >= 1


@in_the_repository
@pytest.mark.parametrize("name", ALL)
def test_it_reads_what_its_docstring_says(name: str) -> None:
    readings = read(name)
    text = inspect.getdoc(ALL[name])
    assert readings
    for reading in readings:
        assert (reading.probe, reading.step) == (name, 2)
        assert f"``{reading.quantity}``" in text


@in_the_repository
@pytest.mark.parametrize("name", [*FREE, *SHARED])
def test_free_ones_pass_nothing_and_those_that_share_a_pass_share_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for method in ("sums_at", "gradient_at", "loss_at", "curvature_at"):
        plain = getattr(Moment, method)

        def counted(*given: object, plain=plain, method=method, **named: object) -> object:
            calls.append(method)
            return plain(*given, **named)

        monkeypatch.setattr(Moment, method, counted)
    read(name)
    assert calls == ([] if name in FREE else ["sums_at", "sums_at"])  # two moments


@in_the_repository
def test_the_page_is_what_the_probes_say() -> None:
    assert (ROOT / "docs" / "probes.md").read_text(encoding="utf-8") == tool().page(), (
        "run ./dev docs"
    )


@in_the_repository
def test_what_is_expected_is_of_probes_that_are_there() -> None:
    assert set(tool().EXPECTED) <= set(ALL)
