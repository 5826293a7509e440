"""Data from a function of somebody's own: any shape, arrays or tensors, and errors that teach."""

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from normscope._errors import DataError
from normscope.data import Dataset, load

Module = Callable[[str], str]

_NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Writes a module into the current folder; its name, which no other test's has."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    written = []

    def write(text: str) -> str:
        name = f"somebodys_data_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(f"import numpy as np\n{textwrap.dedent(text)}")
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def returning(module: Module, expression: str, *, head: str = "") -> str:
    name = module(f"{head}\ndef build(): return {expression}")
    return f"{name}:build"


PAIR = "(np.ones((6, 2, 4, 5), 'float32'), [0, 1, 2] * 2)"


def test_three_pairs_keep_their_shape(module: Module) -> None:
    source = returning(module, f"[{PAIR}, {PAIR}, {PAIR}]")
    data = load(source)
    assert (data.name, data.source) == (source.replace(":", "."), source)
    assert data.classes == ("0", "1", "2")
    for split in (data.train, data.valid, data.test):
        assert (split.images.shape, split.images.dtype) == ((6, 2, 4, 5), np.float32)
        assert split.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.train.pictures is None


def test_of_two_pairs_a_share_is_held_out(module: Module) -> None:
    source = returning(module, "((np.ones((60, 9)), [0, 1] * 30), (np.zeros((4, 9)), [0, 1] * 2))")
    data = load(source, valid_fraction=0.2)
    assert (len(data.train), len(data.valid), len(data.test)) == (48, 12, 4)
    assert data.train.images.shape == (48, 9), "nine numbers are no picture of 3 x 3"
    assert "held out" in data.notes[0]


def test_a_data_set_keeps_its_classes_its_name_and_its_notes(module: Module) -> None:
    source = returning(
        module,
        "Dataset('mine', 'x', ('cat', 'dog'), s, s, s, notes=('read me',))",
        head="from normscope.data import Dataset, Split\n"
        "s = Split(np.arange(32, dtype='float32').reshape(2, 4, 4), np.array([0, 1]))",
    )
    data = load(source)
    assert (data.name, data.source, data.classes) == ("mine", source, ("cat", "dog"))
    assert data.notes[0] == "read me"
    assert data.train.images[1, 3, 3] == 31, "floats are left on their scale"


def test_tensors_are_taken_off_their_graph(module: Module) -> None:
    source = returning(
        module,
        "[(x, torch.tensor([0, 1]))] * 3",
        head="import torch\nx = torch.ones(2, 3, requires_grad=True)",
    )
    data = load(source)
    assert data.train.images.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert not torch.from_numpy(data.train.images).requires_grad


def test_pictures_of_eight_bits_are_scaled_as_everywhere(module: Module) -> None:
    source = returning(module, "[(np.array([[[0, 255]]] * 2, 'uint8'), [0, 1])] * 3")
    assert load(source).train.images[0].tolist() == [[-0.5, 0.5]]


@pytest.mark.parametrize(
    ("shape", "pictures"),
    [((2, 4, 5), (2, 4, 5)), ((2, 1, 4, 5), (2, 4, 5)), ((2, 3, 4, 5), None), ((2, 9), None)],
)
def test_grey_pictures_are_known_by_their_shape(
    module: Module, shape: tuple[int, ...], pictures: tuple[int, ...] | None
) -> None:
    data = load(returning(module, f"[(np.ones({shape}), [0, 1])] * 3"))
    found = data.train.pictures
    assert (None if found is None else found.shape) == pictures


def test_a_file_of_that_name_comes_first(module: Module, tiny_file: Path) -> None:
    source = returning(module, "1 / 0")
    tiny_file.rename(source)
    assert load(source).name == source


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere_at_all:build", "there is no module nowhere_at_all, neither in this folder"),
        ("json.nowhere:build", "there is no module json.nowhere"),
        ("json:lods", r"the module json \(.*\) has no lods; did you mean loads"),
        ("json:zzzzz", "has no zzzzz; is it defined under another name"),
        ("string:digits", "string:digits cannot be called: it is of type str"),
    ],
)
def test_what_is_not_there_is_one_sentence(source: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        load(source)
    assert str(caught.value).startswith(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("1 / 0", r":build\(\) raised ZeroDivisionError: division by zero \(.*\.py, line 3\)\."),
        ("exit(3)", "raised SystemExit: 3"),
        ("None", "is of type NoneType; return a normscope Dataset, or pairs"),
        ("[1]", "is a list of 1; return"),
        ("[1, 2]", "train is of type int; return"),
        ("[([1], [2], [3])] * 2", "train is a tuple of 3; return"),
        (f"[{PAIR}, {PAIR}, ([[1, 'a']], [0])]", "test inputs holds <U"),
        (f"[{PAIR}, {PAIR}, ([[1], [1, 2]], [0])]", "test inputs cannot become an array: Value"),
        (f"[{PAIR}, (np.ones((2, 3, 4, 5)), [0, 1])]", "test inputs has images of 3x4x5 pixels"),
        ("[(np.ones((3, 2)), [0, 1])] * 3", "train inputs has 3 rows, but .*train labels has 2"),
        ("[(np.ones((2, 2)), [0, 2])] * 3", "no training row is of class 1"),
        ("[(np.ones((2, 2)), [0, 0.5])] * 3", "train labels row 1 is 0.5"),
        ("[(np.full((2, 1, 1, 2), np.nan), [0, 1])] * 3", r"row 0 has the value nan at \[0, 0, 0"),
        ("[(np.ones((2, 2), 'int64'), [0, 1])] * 3", "train inputs holds int64; inputs must be"),
        ("[(np.ones(2), [0, 1])] * 3", r"train inputs has shape \[2\]; inputs must be"),
        ("[(np.ones((0, 2)), [])] * 3", r"train inputs has shape \[0, 2\]"),
        ("[(np.ones((2, 2), 'complex64'), [0, 1])] * 3", "train inputs holds complex64"),
    ],
)
def test_what_a_function_does_wrong_is_one_sentence(
    module: Module, expression: str, says: str
) -> None:
    source = returning(module, expression)
    with pytest.raises(DataError, match=says) as caught:
        load(source)
    assert str(caught.value).startswith(source)
    assert "\n" not in str(caught.value)


def test_a_module_that_fails_says_where_the_fault_is(module: Module) -> None:
    name = module("import nowhere_at_all")
    with pytest.raises(DataError, match=f"importing {name} raised ModuleNotFoundError: .*nowhere"):
        load(f"{name}:build")
    name = module("def build(:")
    with pytest.raises(DataError, match=rf"importing {name} raised SyntaxError: .*{name}.py, line"):
        load(f"{name}:build")


def test_the_cause_is_kept_for_who_looks_for_it(module: Module) -> None:
    with pytest.raises(DataError) as caught:
        load(returning(module, "1 / 0"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_two_loads_are_the_same_data(module: Module) -> None:
    source = returning(module, "[(np.eye(20), [0, 1] * 10), (np.eye(20), [0, 1] * 10)]")
    first, second = load(source), load(source)
    assert isinstance(first, Dataset)
    np.testing.assert_array_equal(first.valid.images, second.valid.images)
