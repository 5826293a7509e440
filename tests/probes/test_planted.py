"""Faults of a known kind, planted in a batch norm: the probes that are about them say so."""

import statistics

import pytest
import torch
from torch.nn import functional as F

import normscope as ns
from tests.probes.moments import rows
from tests.probes.planted import PLANTED, network

ALONE = [planted for planted in PLANTED if "," not in planted]
PROBES = ("gradient-identity", "angular-update", "length-direction", "distribution-drift")


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[tuple[str, str], float]]:
    """The median over four steps of a user's own loop, in size, by probe and quantity."""
    torch.manual_seed(0)
    x, labels = rows(40, 10)
    mates, mates_labels = rows(40, 10, seed=1)
    found = {}
    for planted in ALONE:
        model = network(inputs=10, classes=3, planted=planted).double()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        with ns.observe(
            model,
            [*PROBES, "scale-invariance"],
            every=1,
            loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
            batch=(x, labels),
        ) as seen:
            for _ in range(4):
                optimizer.zero_grad()
                F.cross_entropy(model(mates), mates_labels).backward()
                optimizer.step()
        values: dict[tuple[str, str], list[float]] = {}
        last = max((r.layer for r in seen.readings), key=lambda path: int(path or 0))
        for each in seen.readings:
            if each.value is not None and each.layer != last:
                values.setdefault((each.probe, each.quantity), []).append(abs(each.value))
        assert not seen.failures
        found[planted] = {key: statistics.median(them) for key, them in values.items()}
    return found


def test_a_gradient_that_is_cut_off_misses_the_identity(
    seen: dict[str, dict[tuple[str, str], float]],
) -> None:
    residual = {planted: of["gradient-identity", "residual"] for planted, of in seen.items()
                if ("gradient-identity", "residual") in of}  # fmt: skip
    taken = seen["cut"]["gradient-identity", "centering"]
    taken += seen["cut"]["gradient-identity", "projection"]
    assert residual.pop("cut") == pytest.approx(taken, rel=0.2), "nothing of it is taken away"
    assert max(residual.values()) < 1e-12
    assert set(residual) == {"healthy", "radial", "shift"}
    assert "shift-inside" not in residual, "what shifts inside is no batch norm"


def test_and_is_not_at_right_angles_to_the_weights(
    seen: dict[str, dict[tuple[str, str], float]],
) -> None:
    cosine = {planted: of["angular-update", "cosine-gradient"] for planted, of in seen.items()}
    assert cosine["cut"] > 0.02
    assert cosine["radial"] == pytest.approx(2**-0.5, rel=1e-3), "as much along as across"
    assert max(cosine[planted] for planted in ("healthy", "shift", "shift-inside")) < 1e-4, "eps"


def test_a_gradient_along_the_weights_moves_them_there(
    seen: dict[str, dict[tuple[str, str], float]],
) -> None:
    share = {planted: of["length-direction", "radial-share"] for planted, of in seen.items()}
    assert share["radial"] == pytest.approx(0.5, rel=1e-3)
    assert share["cut"] > 1e-4
    assert max(share[planted] for planted in ("healthy", "shift", "shift-inside")) < 1e-8


def test_what_is_cut_or_radial_is_as_free_of_scale_as_ever(
    seen: dict[str, dict[tuple[str, str], float]],
) -> None:
    """The loss has no scale whatever the backward pass: only the gradient does not know it."""
    for planted in ("healthy", "cut", "radial"):
        assert seen[planted]["scale-invariance", "loss-change"] < 1e-4, planted
    assert seen["healthy"]["scale-invariance", "cosine"] < 1e-4
    assert seen["cut"]["scale-invariance", "cosine"] > 0.01


def test_a_shift_is_seen_in_the_norm_and_behind_it(
    seen: dict[str, dict[tuple[str, str], float]],
) -> None:
    drift = {planted: of["distribution-drift", "normalized-drift"] for planted, of in seen.items()}
    for planted in ("shift", "shift-inside"):
        assert drift.pop(planted) > 1, planted
    assert max(drift.values()) < 0.1
