"""Receipts: strict, versioned, and faithful."""

import json
import math

import pytest
from pydantic import ValidationError

from normscope.records import Change, Left, Receipt

RECEIPT = Receipt(
    operation="fold",
    changed=(Change(module="1", change="went into '0'"),),
    left=(Left(module="3", reason="it is in training mode"),),
    difference=1e-7,
    tolerance=1e-5,
    before={"batch norms": 2.0},
    after={"batch norms": 1.0},
)


def test_a_receipt_survives_as_json() -> None:
    assert Receipt.model_validate_json(RECEIPT.model_dump_json()) == RECEIPT


def test_a_difference_that_is_not_finite_survives_as_valid_json() -> None:
    text = RECEIPT.model_copy(update={"difference": math.inf}).model_dump_json()
    assert json.loads(text, parse_constant=pytest.fail)["difference"] == "Infinity"
    assert Receipt.model_validate_json(text).difference == math.inf


@pytest.mark.parametrize(
    "changes",
    [{"format_version": 2}, {"stranger": 1}, {"operation": 1}, {"left": ({"module": "a"},)}],
    ids=str,
)
def test_a_record_of_another_kind_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Receipt.model_validate(RECEIPT.model_dump() | changes)


def test_a_receipt_is_frozen_and_every_field_is_described() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RECEIPT.operation = "freeze"
    for record in (Receipt, Change, Left):
        assert all(field.description for field in record.model_fields.values())


def test_a_receipt_is_printed_line_by_line() -> None:
    lines = str(RECEIPT.model_copy(update={"notes": ("Look again.",)})).splitlines()
    assert lines == [
        "fold: 1 changed, 1 left",
        "  changed '1': went into '0'",
        "  left '3': it is in training mode",
        "  batch norms: 2 before, 1 after",
        "  outputs differ by 1.0e-07 of the largest (1e-05 is allowed)",
        "  Note: Look again.",
    ]


def test_of_many_modules_the_first_are_printed() -> None:
    changed = tuple(Change(module=str(number), change="moved") for number in range(40))
    lines = str(Receipt(operation="freeze", changed=changed)).splitlines()
    assert lines[0] == "freeze: 40 changed"
    assert lines[-1] == "  and 28 more"
    assert len(lines) == 14
