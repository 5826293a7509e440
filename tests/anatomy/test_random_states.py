"""Whoever draws inside draws the same again afterwards."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from normscope.anatomy._random_states import random_states_kept


def holder() -> SimpleNamespace:
    return SimpleNamespace(
        torch=torch.Generator().manual_seed(1),
        numpy=np.random.default_rng(1),
        old=np.random.RandomState(1),
        python=random.Random(1),
        system=random.SystemRandom(),
        nothing="nothing",
    )


def drawn(held: SimpleNamespace) -> list[float]:
    return [
        random.random(),
        np.random.rand(),
        float(torch.rand(())),
        float(torch.rand((), generator=held.torch)),
        held.numpy.random(),
        held.old.rand(),
        held.python.random(),
    ]


@pytest.mark.parametrize("raises", [False, True])
def test_every_generator_goes_on_where_it_was(raises: bool) -> None:
    held, inside = holder(), []
    try:
        with random_states_kept(held):
            inside = drawn(held)
            if raises:
                raise RuntimeError  # noqa: TRY301
    except RuntimeError:
        assert raises
    assert drawn(held) == inside
    assert not set(drawn(held)) & set(inside), "the control"


@pytest.mark.parametrize(
    ("available", "keeper", "read", "write"),
    [
        (torch.backends.mps, torch.mps, "get_rng_state", "set_rng_state"),
        (torch.xpu, torch.xpu, "get_rng_state_all", "set_rng_state_all"),
    ],
    ids=["mps", "xpu"],
)
def test_the_state_of_another_device_is_kept_where_there_is_one(
    available: object, keeper: object, read: str, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such device is here: what is tested is that the state that is read is written."""
    written: list[object] = []
    monkeypatch.setattr(available, "is_available", lambda: True)
    monkeypatch.setattr(keeper, read, lambda: "before")
    monkeypatch.setattr(keeper, write, written.append)
    with random_states_kept():
        assert not written
    assert written == ["before"]
