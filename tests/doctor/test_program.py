"""Saved programs: their batch norms are looked at as those of any model."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope import check
from normscope.doctor._program import Program, shown
from normscope.records import Diagnosis, Evidence
from tests.doctor.deep import Batches, data, fitted

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # run_decompositions
]

Save = Callable[[nn.Module], nn.Module]


def exported(model: nn.Module) -> nn.Module:
    example = (data()[0][0],)
    rows = ({0: torch.export.Dim.AUTO},)
    return torch.export.export(model.eval(), example, dynamic_shapes=rows).module()


def decomposed(model: nn.Module) -> nn.Module:
    program = torch.export.export(model.eval(), (data()[0][0],))
    return program.run_decompositions().module()


def scripted(model: nn.Module) -> nn.Module:
    script: nn.Module = torch.jit.script(model.eval())
    return script


def traced(model: nn.Module) -> nn.Module:
    trace: nn.Module = torch.jit.trace(model.eval(), data()[0][0])
    return trace


SAVES = [exported, decomposed, scripted, traced]


def off() -> nn.Sequential:
    """Good in training mode, bad in eval mode: one layer's statistics were moved."""
    model = fitted()
    with torch.no_grad():
        model[4].running_mean += 3
    return model


def numbers(diagnosis: Diagnosis) -> dict[str, dict[str, Evidence]]:
    """What rules on data found."""
    return {f.code: f.evidence for f in diagnosis.findings if f.code in {"NS401", "NS403"}}


@pytest.mark.parametrize("save", SAVES)
def test_a_program_is_found_to_be_what_its_model_is(save: Save) -> None:
    """Harm, layer, cause and costs, to the last digit that is printed."""
    model, batches = off(), data()
    found, expected = numbers(check(save(model), batches)), numbers(check(model, batches))
    assert found.keys() == expected.keys() == {"NS401", "NS403"}
    for code, evidence in expected.items():
        for name, value in evidence.items():
            is_number = isinstance(value, float)
            assert found[code][name] == (pytest.approx(value, rel=1e-4) if is_number else value)


@pytest.mark.parametrize("save", SAVES)
def test_a_sound_program_is_sound(save: Save) -> None:
    diagnosis = check(save(fitted()), data())
    assert not diagnosis.findings
    assert {"NS401", "NS403", "NS404", "NS407"} <= set(diagnosis.silent)
    assert diagnosis.conditions["batch norms"] == 3
    assert not diagnosis.notes


@pytest.mark.parametrize("save", SAVES)
def test_it_computes_what_the_program_does_to_the_bit(save: Save) -> None:
    program, (x, _) = save(off()), data()[0]
    view = shown(program)
    assert view is not None
    with torch.no_grad():
        assert torch.equal(view.eval()(x), program(x))
        view.get_submodule("4").running_mean = torch.zeros(16)
        assert not torch.equal(view(x), program(x)), "the control: it is its modules that compute"


@pytest.mark.parametrize("save", SAVES)
def test_what_cannot_be_known_of_a_program_is_told(save: Save) -> None:
    diagnosis = check(save(off()), data())
    skipped = {each.code: each.reason for each in diagnosis.skipped}
    assert "a saved program has only what they computed" in skipped["NS201"]
    assert any("cannot be repaired" in note for note in diagnosis.notes)


class Constant(nn.Module):
    """Its statistics are numbers in the program."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = torch.full((3,), 9.0), torch.ones(3)
        return F.batch_norm(self.weight(x), mean, variance)


@pytest.mark.parametrize("save", SAVES)
def test_rules_on_data_that_see_nothing_are_skipped_and_not_silent(save: Save) -> None:
    diagnosis = check(save(Constant()), data())
    skipped = {each.code: each.reason for each in diagnosis.skipped}
    for code in ("NS401", "NS403", "NS404", "NS407"):
        assert code not in diagnosis.silent
        assert "constants, or the batch's own" in skipped[code]
    assert diagnosis.conditions["batch norms"] == 1


def frozen(norm: nn.Module) -> nn.Module:
    """Behind an activation, so that freezing does not fold it."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), norm).eval()
    freeze: nn.Module = torch.jit.freeze(torch.jit.script(model))
    return freeze


def test_a_frozen_program_has_constants_and_no_mode() -> None:
    """Its statistics are stored: it does not normalize by the batch."""
    diagnosis = check(frozen(nn.BatchNorm1d(3)), data())
    assert not diagnosis.findings
    assert "NS702" in diagnosis.silent
    assert "NS401" not in diagnosis.silent
    by_batch = frozen(nn.BatchNorm1d(3, track_running_stats=False))
    assert check(by_batch, data()).of("NS702")  # the control


class Around(nn.Module):
    """A program as a part of a model."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.backbone = program

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)


@pytest.mark.parametrize("save", SAVES)
def test_a_program_within_a_model_is_named(save: Save) -> None:
    (note,) = check(Around(save(off())), data()).notes
    assert "'backbone' is a saved program in the model, with 3 batch norms" in note
    assert not check(Around(off()), data()).notes


class Named(nn.Module):
    """Takes two inputs by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.inner(left + right)

    @torch.jit.export
    def other(self, x: Tensor) -> Tensor:
        return self.inner(x)


def halves() -> list[dict[str, Tensor]]:
    return [{"left": x / 2, "right": x / 2, "label": y} for x, y in data()]


def test_a_program_is_called_with_what_it_takes() -> None:
    """TorchScript keeps its signature from Python."""
    model = Named(off()).eval()
    (found,) = check(torch.jit.script(model), halves()).of("NS401")
    assert found.module == "inner.4"
    example = {name: halves()[0][name] for name in ("left", "right")}
    program = torch.export.export(model, (), example).module()
    assert check(program, halves()).of("NS401")[0].module == "inner.4"


def test_another_method_of_a_program_is_looked_at_as_well() -> None:
    batches: Batches = data()
    diagnosis = check(
        torch.jit.script(Named(off()).eval()),
        batches,
        forward=lambda model, batch: model.other(batch[0]),
    )
    assert diagnosis.of("NS401")[0].module == "inner.4"


def test_the_program_is_as_it_was() -> None:
    for model in (off().train(), off().eval()):
        script = torch.jit.script(model)
        before = {name: tensor.clone() for name, tensor in script.state_dict().items()}
        modes = [module.training for module in script.modules()]
        check(script, data())
        assert all(torch.equal(before[name], t) for name, t in script.state_dict().items())
        assert modes == [module.training for module in script.modules()]


def test_a_model_is_no_program() -> None:
    assert shown(fitted()) is None
    assert shown(torch.fx.symbolic_trace(fitted())) is None
    assert isinstance(shown(exported(fitted())), Program)
