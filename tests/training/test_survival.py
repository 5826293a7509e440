"""A run survives: kills at any moment, full disks, damaged checkpoints."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from normscope._errors import RunFolderError, StorageError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.records import Run, write_atomically
from normscope.training import RunFolder, load, resume, train
from tests.training.test_train import SMALL, StopAfter, bits

DRIVER = Path(__file__).with_name("kill_driver.py")


def kill(folder: Path, data: Path, moments: str, *recipe: Path) -> dict:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), str(data), moments, *map(str, recipe)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_nothing_was_lost(report: dict) -> None:
    for outcome in report["outcomes"]:
        assert outcome["by_sigkill"], f"moment {outcome['moment']}: the kill did not happen"
        assert outcome["digest"] == report["reference"], f"killed at moment {outcome['moment']}"


def test_killed_at_twenty_random_moments_a_run_ends_in_the_same_bits(
    tiny_file: Path, tmp_path: Path
) -> None:
    report = kill(tmp_path, tiny_file, "20")
    assert len(report["outcomes"]) == 20
    assert_nothing_was_lost(report)


@pytest.mark.slow
def test_killed_at_every_single_moment_a_run_ends_in_the_same_bits(
    tiny_file: Path, tmp_path: Path
) -> None:
    report = kill(tmp_path, tiny_file, "all")
    assert len(report["outcomes"]) == report["moments"] > 50
    assert_nothing_was_lost(report)


def test_atomic_writing_leaves_the_old_file_when_the_disk_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_readable_by_others_as_the_mask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


FAILING = ["os.fsync", "os.replace", "os.rename", "os.mkdir"]


@pytest.mark.parametrize("operation", FAILING)
def test_a_disk_that_fills_while_training_is_a_sentence_and_loses_nothing(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The operation fails at its first, second, … use; every time, what was saved goes on."""
    whole, refused = bits(train(SMALL, tiny).network), 0
    real = getattr(os, operation.removeprefix("os."))
    for fails_at in (2, 3, 5, 8):
        folder, calls = tmp_path / f"{fails_at}", 0

        def failing(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == fails_at:  # noqa: B023
                full_disk()
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, operation.removeprefix("os."), failing)
            try:
                train(SMALL, tiny, out=folder)
            except StorageError as error:
                assert "No space left" in str(error)
                assert str(folder) in str(error)
                refused += 1
        if (folder / "run.json").exists() and Run.load(folder).status != "complete":
            assert bits(resume(folder, tiny).network) == whole
    assert refused, "the control: the disk did fill"


@pytest.mark.parametrize("inside", ["a file", "proc"])
def test_a_folder_that_cannot_be_made_is_a_sentence(
    tiny: Dataset, tmp_path: Path, inside: str
) -> None:
    (tmp_path / "file").touch()
    parent = tmp_path / "file" if inside == "a file" else Path("/proc")
    with pytest.raises(StorageError, match="could not be written.*Choose"):
        train(SMALL, tiny, out=parent / "run")


def interrupted(tiny: Dataset, folder: Path) -> list[Path]:
    """A run with two checkpoints; they, oldest first."""
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=folder, observers=[StopAfter(3, 2)])
    found = sorted((folder / "checkpoints").iterdir())
    assert len(found) == 2
    return found


@pytest.mark.parametrize("name", ["network.safetensors", "training.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "garbage"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_works(
    tiny: Dataset, tmp_path: Path, name: str, damage: str
) -> None:
    import shutil

    newest = interrupted(tiny, tmp_path / "run")[-1]
    content = (newest / name).read_bytes()
    match damage:
        case "truncated":
            (newest / name).write_bytes(content[: len(content) // 2])
        case "missing":
            (newest / name).unlink()
        case "garbage":
            (newest / name).write_bytes(b"\x00garbage" * 20)
    with pytest.raises(RunFolderError, match=rf"{name}.*Delete its folder, {newest.name}"):
        resume(tmp_path / "run", tiny)
    shutil.rmtree(newest)
    assert bits(resume(tmp_path / "run", tiny).network) == bits(train(SMALL, tiny).network)


def test_a_checkpoint_of_another_network_is_refused(tiny: Dataset, tmp_path: Path) -> None:
    newest = interrupted(tiny, tmp_path / "run")[-1]
    other = SMALL.model_copy(update={"hidden": (9,)})
    train(other, tiny, out=tmp_path / "other")
    stranger = sorted((tmp_path / "other" / "checkpoints").iterdir())[-1]
    (newest / "network.safetensors").write_bytes((stranger / "network.safetensors").read_bytes())
    with pytest.raises(RunFolderError, match="does not fit"):
        resume(tmp_path / "run", tiny)


def test_what_a_kill_left_unfinished_is_swept_up(tiny: Dataset, tmp_path: Path) -> None:
    interrupted(tiny, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / ".unfinished-epoch-000009-step-000000").mkdir()
    resume(tmp_path / "run", tiny)
    assert not list((tmp_path / "run" / "checkpoints").glob(".unfinished*"))


def test_a_newer_checkpoint_is_not_called_damaged(tiny: Dataset, tmp_path: Path) -> None:
    newest = interrupted(tiny, tmp_path / "run")[-1]
    (newest / "state.json").write_text('{"format_version": 2}')
    with pytest.raises(RunFolderError, match="newer Normscope"):
        resume(tmp_path / "run", tiny)


def test_the_record_never_promises_more_than_the_checkpoints_hold(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normscope.training import _run_folder

    saves = 0

    def third_fails(folder: Path, state: object) -> object:
        nonlocal saves
        saves += 1
        return full_disk() if saves == 3 else save(folder, state)

    save = _run_folder.save_checkpoint
    monkeypatch.setattr(_run_folder, "save_checkpoint", third_fails)
    with pytest.raises(StorageError) as caught:
        train(SMALL, tiny, out=tmp_path / "run")
    assert len(Run.load(tmp_path / "run").epochs) == 2
    says = r"Free some space.*intact\. Then go on after epoch 2: normscope train --resume .*/run"
    assert re.search(says, str(caught.value)), caught.value


def test_a_name_is_taken_only_after_the_bytes_reached_the_disk(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def logged(*arguments: object, real: object = real, name: str = name) -> object:
            log.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, logged)
    from normscope.training._checkpoints import save_checkpoint
    from tests.training.test_train import fresh_state

    save_checkpoint(tmp_path, fresh_state(tiny))
    assert log == ["fsync"] * 4 + ["rename", "fsync"]  # three files, their folder; the name, kept


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (('"stretched"', '"crooked"'), "data.framing"),
        (('"image_size": [\n      6', '"image_size": [\n      0'), "image_size"),
        (('"train_rows": 130', '"train_rows": -5'), "train_rows"),
        (('"norm": "batch"', '"norm": "none"'), "does not fit"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_record_that_was_edited_is_one_sentence(
    tiny: Dataset, tmp_path: Path, edit: tuple[str, str], says: str
) -> None:
    from normscope.training import predict_run

    train(SMALL, tiny, out=tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    assert edit[0] in record.read_text()
    record.write_text(record.read_text().replace(*edit))
    with pytest.raises(RunFolderError, match=says) as caught:
        predict_run(tmp_path / "run", [])
    assert "\n" not in str(caught.value)


def test_a_run_without_a_checkpoint_cannot_be_loaded_but_resumed(
    tiny: Dataset, tmp_path: Path
) -> None:
    import shutil

    interrupted(tiny, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(RunFolderError, match="no checkpoint yet"):
        load(tmp_path / "run")
    assert bits(resume(tmp_path / "run", tiny).network) == bits(train(SMALL, tiny).network)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a run"),
        (b"{}", "not a run"),
        (b'{"format_version": 2}', "format_version"),
        (b"\xff\xfe", "not a run"),
    ],
)
def test_a_record_that_is_none_is_a_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    for function in (load, resume, Run.load):
        with pytest.raises(RunFolderError, match=says):
            function(tmp_path)


def test_no_run_at_all_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no run here"):
        load(tmp_path / "nowhere")


def test_the_lock_goes_with_its_holder(tiny: Dataset, tmp_path: Path) -> None:
    interrupted(tiny, tmp_path / "run")
    with pytest.raises(RuntimeError), RunFolder(tmp_path / "run").locked():
        raise RuntimeError
    resume(tmp_path / "run", tiny)
