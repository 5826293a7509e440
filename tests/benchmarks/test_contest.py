"""The referee: turns, times, and contestants that cannot take part. No time is judged."""

import json
import sys
from pathlib import Path

from benchmarks.contest import Contestant, Outcome, compete, environment

FAKES = "tests.benchmarks.fakes"


def play(contestants: dict[str, Contestant], **options: int) -> Outcome:
    turns = {"rounds": 2, "unmeasured": 1, "measured": 3} | options
    return compete(contestants, threads=1, **turns)


def test_every_turn_is_unmeasured_and_measured_steps(tmp_path: Path) -> None:
    log = tmp_path / "steps"
    outcome = play({"fake": Contestant(f"{FAKES}:counting", {"log": str(log)})})
    assert len(outcome.samples["fake"]) == 2
    # A rehearsal and two rounds of 1 + 3; the last step is done when its turn is.
    assert json.loads(log.read_text()) == 3 * 4


def test_blocks_of_steps_are_turns_as_well(tmp_path: Path) -> None:
    log = tmp_path / "blocks"
    job = {"unmeasured": 1, "measured": 3, "log": str(log)}
    outcome = play({"fake": Contestant(f"{FAKES}:in_blocks", job)})
    assert len(outcome.samples["fake"]) == 2
    assert json.loads(log.read_text()) == 3 * 2


def test_a_sample_is_seconds_for_each_measured_step() -> None:
    seconds = [100.0, 1.0, 2.0, 3.0, 100.0, 4.0, 5.0, 6.0]
    contestant = Contestant(f"{FAKES}:steps_that_take", {"seconds": seconds})
    outcome = compete(
        {"fake": contestant}, threads=1, rounds=2, unmeasured=1, measured=3, rehearse=False
    )
    assert outcome.samples == {"fake": [2.0, 5.0]}


def test_who_cannot_take_part_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    outcome = play(
        {
            "peer": Contestant(f"{FAKES}:not_installed"),
            "broken": Contestant(f"{FAKES}:broken"),
            "dying": Contestant(f"{FAKES}:dying"),
            "fake": Contestant(f"{FAKES}:counting", {"log": str(tmp_path / "log")}),
        }
    )
    assert list(outcome.samples) == ["fake"]
    assert outcome.left_out["peer"] == "a_framework_that_nobody_has is not installed"
    assert outcome.left_out["broken"] == "RuntimeError: out of luck"
    assert "code 3" in outcome.left_out["dying"]


def test_what_a_framework_prints_disturbs_nobody() -> None:
    assert len(play({"loud": Contestant(f"{FAKES}:printing")}).samples["loud"]) == 2


def test_who_computes_while_it_waits_is_named(tmp_path: Path) -> None:
    calm = Contestant(f"{FAKES}:counting", {"log": str(tmp_path / "log")})
    # The calm one's steps write a file, so that the other has something to wait for.
    outcome = play({"restless": Contestant(f"{FAKES}:restless"), "calm": calm}, measured=200)
    assert any(note.startswith("restless kept") for note in outcome.notes)
    assert not any(note.startswith("calm") for note in outcome.notes if "restless" not in note)


def test_versions_are_those_of_the_contestants_processes(tmp_path: Path) -> None:
    outcome = play({"fake": Contestant(f"{FAKES}:counting", {"log": str(tmp_path / "log")})})
    assert "torch" not in outcome.versions  # this process has it, the contestant has not


def test_threads_are_what_was_asked_for() -> None:
    assert environment(2)["OMP_NUM_THREADS"] == "2"
    assert environment(1)["MKL_NUM_THREADS"] == "1"


def test_another_interpreter_can_be_named(tmp_path: Path) -> None:
    contestant = Contestant(
        f"{FAKES}:counting", {"log": str(tmp_path / "log")}, python=sys.executable
    )
    assert "fake" in play({"fake": contestant}).samples
    outcome = play({"fake": Contestant(f"{FAKES}:counting", python=str(tmp_path / "none"))})
    assert outcome.left_out == {"fake": f"{tmp_path / 'none'}: No such file or directory"}
