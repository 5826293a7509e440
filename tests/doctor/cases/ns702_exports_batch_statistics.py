"""Programs that were exported in training mode, and layers that would be."""

import warnings

import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows, small


def exported(model: nn.Module, *, decomposed: bool = False) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its own parts
        program = torch.export.export(model, (rows(32),))
        return (program.run_decompositions() if decomposed else program).module()


def traced(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and in use
        return torch.jit.trace(model, rows(32), check_trace=False)


def bad_program() -> Diagnosis:
    diagnosis = check(exported(small().train()), [rows(32, seed=seed) for seed in range(8)])
    (finding,) = diagnosis.of("NS702")
    assert finding.severity == "error"
    assert finding.module == "1"
    assert finding.evidence["batch norms"] == finding.evidence["of"] == 1
    assert float(finding.evidence["change by other rows in the batch, in deviations"]) > 0.05
    return diagnosis


def good_program() -> Diagnosis:
    return check(exported(small().eval()), [rows(32)])


def bad_decomposed() -> Diagnosis:
    return check(exported(small().train(), decomposed=True))


def good_decomposed() -> Diagnosis:
    return check(exported(small().eval(), decomposed=True))


def bad_trace() -> Diagnosis:
    return check(traced(small().train()))


def good_trace() -> Diagnosis:
    return check(traced(small().eval()))


def bad_no_statistics() -> Diagnosis:
    return check(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False)))


def good_no_statistics() -> Diagnosis:
    return check(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)))


def bad_left_in_training() -> Diagnosis:
    model = small().eval()
    model[1].train()
    return check(model)


def good_left_in_training() -> Diagnosis:
    return check(small().eval())


def silent_script() -> Diagnosis:
    """Its mode is an attribute, which eval() sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.script(small().train())
    diagnosis = check(model, [rows(32)])
    assert not diagnosis.of("NS702")
    return diagnosis


def silent_symbolic_trace() -> Diagnosis:
    """A graph of modules has modes like any model."""
    diagnosis = check(torch.fx.symbolic_trace(small().train()))
    assert not diagnosis.of("NS702")
    return diagnosis


def silent_instance_norm() -> Diagnosis:
    """Every example by its own: no batch."""
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.InstanceNorm1d(2)).eval()
    diagnosis = check(model)
    assert not diagnosis.of("NS702")
    return diagnosis
