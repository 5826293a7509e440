"""Statistics in 16 bits, in training and for inference."""

import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows, small


def severity(diagnosis: Diagnosis) -> str:
    (finding,) = diagnosis.of("NS305")
    return finding.severity


def stuck(dtype: torch.dtype) -> nn.BatchNorm1d:
    """After 400 batches with a variance of 3 each, from a variance of 1."""
    norm = nn.BatchNorm1d(1, momentum=0.001, dtype=dtype)
    batch = torch.tensor([[-1.0], [1.0]]).repeat(64, 1) * 3**0.5
    for _ in range(400):
        norm(batch.to(dtype))
    return norm


def bad_training_in_bfloat16() -> Diagnosis:
    """It stands still, as the finding says: 3 is less than 390 % away from 1."""
    norm = stuck(torch.bfloat16)
    assert norm.running_var < 1.01
    diagnosis = check(norm)
    assert severity(diagnosis) == "warning"
    assert diagnosis.of("NS305")[0].evidence["unmoved variance"] > 2
    return diagnosis


def bad_training_with_data() -> Diagnosis:
    """To look at it at work puts it into eval mode; what counts is how it was."""
    diagnosis = check(small().bfloat16(), [rows().bfloat16()])
    assert severity(diagnosis) == "warning"
    return diagnosis


def good_training_with_data() -> Diagnosis:
    return check(small(), [rows()])


def good_training_in_bfloat16() -> Diagnosis:
    norm = stuck(torch.float32)
    assert norm.running_var > 1.5
    return check(norm)


def bad_about_to_overflow() -> Diagnosis:
    model = small().half()
    model[1].running_var.fill_(6e4)
    diagnosis = check(model)
    assert severity(diagnosis) == "warning"
    return diagnosis


def good_about_to_overflow() -> Diagnosis:
    model = small().half()
    model[1].float().running_var.fill_(6e4)
    return check(model)


def silent_inference() -> Diagnosis:
    diagnosis = check(small().bfloat16().eval())
    assert severity(diagnosis) == "info"
    return diagnosis


def silent_half_that_moves() -> Diagnosis:
    """float16 at momentum 0.1 moves from 0.5 % on: a note."""
    return check(small().half())
