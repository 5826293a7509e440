"""The study file: what is saved is read again, and what is no study is refused in a sentence."""

import gzip
import re
from pathlib import Path

import pytest

from normscope import StudyError
from normscope.records import Study
from tests.report.samples import study as sample

STUDY = sample()
COMPRESSED = gzip.compress(STUDY.model_dump_json().encode())


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    STUDY.save(tmp_path / "study.json")
    assert Study.load(tmp_path / "study.json") == STUDY
    assert Study.load(tmp_path) == STUDY


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "study.json.gz"
    file.write_bytes(COMPRESSED)
    assert Study.load(file) == STUDY


@pytest.mark.parametrize("cut", [2, 12, 200, -9, -1])
def test_a_compressed_file_that_is_cut_or_changed_is_refused(tmp_path: Path, cut: int) -> None:
    file, whole = tmp_path / "study.json.gz", COMPRESSED
    changed = bytes([*whole[:cut], whole[cut] ^ 0xFF, *whole[cut:][1:]])
    for content in (whole[:cut], changed):
        file.write_bytes(content)
        with pytest.raises(StudyError, match=re.escape(str(file))):
            Study.load(file)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format_version": 2}', b"\xff\xfe"])
def test_what_is_no_study_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "study.json"
    file.write_bytes(content)
    with pytest.raises(StudyError, match=r"study\.json: this is not a study") as caught:
        Study.load(tmp_path)
    assert "Input should" not in str(caught.value)
    assert "Field required" not in str(caught.value)


def test_where_there_is_none_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="Make one with `normscope compare`"):
        Study.load(tmp_path)
