"""`evidence-pictures.json`: what is written is read back, and nothing else."""

import math
from pathlib import Path

import pytest

from normscope._errors import StudyError
from normscope.records._evidence_pictures import (
    ArmNumbers,
    EvidencePictures,
    LossCurve,
    SeedLine,
)

FILE = "evidence-pictures.json"


def pictures() -> EvidencePictures:
    line = SeedLine(
        quantity="drift", over="steps", arm="none", learning_rate=0.02,
        at=(1.0, 2.0), low=(0.1, 0.2), middle=(0.2, 0.3), high=(0.3, math.inf),
    )  # fmt: skip
    curve = LossCurve(
        line="far", arm="batch", learning_rate=0.02, seed=0, step=3, at=(0.1, 1.0),
        loss=(1.0, math.inf),
    )  # fmt: skip
    numbers = ArmNumbers(
        arm="batch", learning_rate=0.02, best=True, rows=120, learned=(90.0,), early=(),
        ended=(91.0,),
    )  # fmt: skip
    return EvidencePictures(lines=(line,), curves=(curve,), numbers=(numbers,))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    pictures().save(tmp_path)
    assert EvidencePictures.load(tmp_path) == pictures()


def test_there_need_be_none(tmp_path: Path) -> None:
    assert EvidencePictures.load(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "{}", pictures().model_dump_json().replace('version":1', 'version":2')]
)
def test_what_cannot_be_drawn_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StudyError, match=f"{FILE}.*`normscope explain` writes it anew"):
        EvidencePictures.load(tmp_path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StudyError, match="cannot be read"):
        EvidencePictures.load(tmp_path)
