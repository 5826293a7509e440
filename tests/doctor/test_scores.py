"""What answers are judged by, and that a number that means nothing is not taken for harm."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from normscope.anatomy import Outcome, classes_of, outcome_of
from normscope.doctor import check
from normscope.doctor._gap import gap_between
from normscope.surgery import freeze
from tests.doctor.deep import Batches, data, deep, fitted, fitted_of


def test_classes_are_judged_by_the_largest_output() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    outcome = outcome_of(logits, (None, torch.tensor([0, 0])))
    assert outcome.measure == "accuracy"
    assert outcome.scores is not None
    assert outcome.scores.tolist() == [1, 0]


def test_zeros_and_ones_are_judged_by_the_sign_of_a_logit_or_the_half_of_a_probability() -> None:
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    for answers in (torch.tensor([[3.0, -1.0], [5.0, -2.0]]), torch.tensor([[0.9, 0.1], [0.8, 0]])):
        outcome = outcome_of(answers, (None, targets))
        assert outcome.measure == "accuracy"
        assert outcome.scores is not None
        assert outcome.scores.tolist() == [1, 0.5]


def test_shares_of_classes_are_judged_by_the_largest() -> None:
    outcome = outcome_of(torch.tensor([[1.0, 9.0]]), (None, torch.tensor([[0.3, 0.7]])))
    assert outcome.scores is not None
    assert (outcome.measure, outcome.scores.tolist()) == ("accuracy", [1])


def test_numbers_are_judged_in_units_of_their_variance() -> None:
    outcome = outcome_of(torch.zeros(2), (None, torch.tensor([-2.0, 2.0])))
    assert outcome.scores is not None
    assert (outcome.measure, outcome.scores.tolist()) == ("squared error", [-1, -1])


def test_of_several_parts_that_may_be_labels_none_is_taken() -> None:
    """Lengths and labels look alike; rows' own numbers do not."""
    logits, labels = torch.eye(3)[[0, 1, 1, 2]], torch.tensor([0, 1, 1, 2])
    lengths, numbers = torch.tensor([1, 2, 2, 2]), torch.arange(4)
    outcome = outcome_of(logits, (None, lengths, labels))
    assert outcome.measure == "output"
    assert "several parts of a batch may be class labels" in outcome.unfit
    assert classes_of((None, lengths, labels)) is None
    for batch in ((None, labels, numbers), (None, labels, "words"), (None, labels)):
        outcome = outcome_of(logits, batch)
        assert outcome.scores is not None
        assert outcome.scores.tolist() == [1, 1, 1, 1]


def test_a_model_may_answer_with_one_number_per_row() -> None:
    model = nn.Sequential(*deep(), nn.Linear(3, 1), nn.Flatten(0))
    diagnosis = check(model, [(x, x[:, 0]) for x, _ in data()])
    assert diagnosis.conditions["rows"] == 512
    assert check(model, [x for x, _ in data()]).conditions["rows"] == 512


def binary() -> Batches:
    """Is the largest of the first three numbers positive? As floats, for a loss on logits."""
    return [(x, (x[:, :3] > 1).float()) for x, _ in data()]


def test_logits_for_zeros_and_ones_are_no_regression() -> None:
    """Their squared distance from 0 and 1 is large in either mode, and says nothing."""
    model = deep()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        for x, y in binary():
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(30 * model(x), y).backward()
            optimizer.step()
    with torch.no_grad():
        model[-1].weight *= 30
        model[-1].bias *= 30
    assert not check(model, binary()).at_least("warning")


def test_one_bad_number_in_the_data_is_not_laid_to_the_statistics() -> None:
    batches = [(x.clone(), y) for x, y in data()]
    batches[3][0][0, 0] = torch.nan
    assert not check(fitted(), batches).of("NS401")


def test_a_new_head_on_a_frozen_backbone_is_not_a_gap_to_warn_of() -> None:
    backbone = fitted().requires_grad_(False)
    freeze(backbone)
    model = nn.Sequential(backbone, nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    assert not check(model, data()).at_least("warning")


def without_affine() -> nn.Module:
    model = deep()
    for number in (1, 4, 7):
        model[number] = nn.BatchNorm1d(16, affine=False)
    return model


def test_statistics_left_behind_are_harm_where_the_model_has_learned() -> None:
    """Without gamma and beta, only what the model knows tells that it is not new."""
    learned = fitted_of(without_affine(), data())
    average = without_affine()
    average.load_state_dict(dict(learned.named_parameters()), strict=False)
    (finding,) = check(average, data()).of("NS401")
    assert finding.severity == "error"
    assert {f.severity for f in check(without_affine(), data()).of("NS401")} <= {"info"}


def moved(x: Tensor) -> Tensor:
    """Every input by its own distance: no one factor for all channels."""
    return x * torch.tensor([0.3, 2.0, 1.0, 4.0]) + torch.tensor([1.0, -2.0, 0.0, 3.0])


def test_where_the_first_layer_alone_is_off_the_inputs_are_named_first() -> None:
    found = check(fitted(), [(moved(x), y) for x, y in data()]).of("NS403")
    assert "Scale the inputs" in found[0].fix


def test_an_answer_of_no_rows_is_not_judged() -> None:
    outcome = outcome_of(torch.zeros(0, 3), (None, torch.zeros(0, dtype=torch.int64)))
    assert outcome.output is None
    batches = [*data(), (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]
    assert check(deep(), batches).conditions["rows"] == 512


def judged(answers: list[float], targets: list[float]) -> Outcome:
    return outcome_of(torch.tensor(answers)[:, None], (None, torch.tensor(targets)[:, None]))


def test_batches_that_look_like_other_data_do_not_enter_the_score() -> None:
    """Counts: one batch has only 0 and 1, and one only 2; the others have a squared error."""
    targets = [[0.0, 3.0], [2.0, 5.0], [1.0, 4.0], [0.0, 1.0], [2.0, 2.0]]
    running = [judged([a - 1.0 for a in each], each) for each in targets]
    by_batch = [judged(each, each) for each in targets]
    gap = gap_between(running, by_batch)
    assert gap is not None
    assert (gap.measure, gap.rows, gap.by_batch) == ("squared error", 6, 0)
    assert gap.size == pytest.approx(1 / 1.5**2)


# --- labels that do not fit are not dropped in silence ---


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (lambda y: y + 7, "they go from 7 to 9, and the model answers with 3 classes, 0 to 2"),
        (lambda y: y.float(), r"class labels are whole numbers \(labels.long\(\)\)"),
        (lambda y: y[:5], "there are 5 for 64 rows of answers"),
        (lambda y: y.tolist(), "they are of type list"),
        (lambda y: y[0], "they are a single number"),
        (lambda y: y[:, None].expand(-1, 2), r"their shape is \[64, 2\]"),
    ],
)
def test_labels_that_do_not_fit_are_told(labels: Callable[[Tensor], object], says: str) -> None:
    diagnosis = check(fitted(), [(x, labels(y)) for x, y in data()])
    (note,) = diagnosis.notes
    assert re.search(says, note), note
    assert "in 8 of 8 batches" in note
    assert "no accuracy" in note
    assert note in str(diagnosis)


def test_labels_of_which_some_do_not_fit_count_as_wrong_and_are_told() -> None:
    batches = [(x, torch.where(y == 2, 3, y)) for x, y in data()]  # classes from 1, say
    (note,) = check(fitted(), batches).notes
    assert re.search(r"\d+ of 64 are not among the model's classes, 0 to 2. Those count", note)


def test_labels_that_fit_are_ignored_by_custom_or_are_not_there_are_nothing_to_tell() -> None:
    ignored = [(x, torch.where(y == 2, -100, y)) for x, y in data()]
    for batches in (data(), ignored, [x for x, _ in data()], [(x,) for x, _ in data()]):
        assert check(fitted(), batches).notes == ()


# --- models that return their loss, or nothing ---


class Loss(nn.Module):
    """Computes its loss, as many language and detection models do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor) -> Tensor | dict[str, Tensor]:
        return nn.functional.cross_entropy(self.model(x), y)


def named() -> list[dict[str, Tensor]]:
    return [{"x": x, "y": y} for x, y in data()]


def off() -> nn.Sequential:
    """Good in training mode, bad in eval mode."""
    model = fitted()
    with torch.no_grad():
        model[4].running_mean += 3
    return model


def test_losses_are_compared_where_there_is_nothing_else() -> None:
    (finding,) = check(Loss(off()), named()).of("NS401")
    assert (finding.severity, finding.module) == ("warning", "model.4")
    assert "The loss, the one number that the model returns, is " in finding.message
    assert "each measured on 2 batches of its own" in finding.message
    with torch.no_grad():
        expected = [Loss(off()).eval()(**batch) for batch in named()]
    measured = finding.evidence["loss, running statistics"]
    assert measured == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)
    assert finding.evidence["batches"] == 8
    assert finding.evidence["left by exact statistics"] < 0.1 * finding.evidence["gap"]


def test_a_loss_that_is_the_same_in_both_modes_is_no_finding() -> None:
    diagnosis = check(Loss(fitted()), named())
    assert "NS401" in diagnosis.silent
    assert not diagnosis.at_least("warning")


def test_the_standard_error_of_a_loss_is_over_batches() -> None:
    running = [Outcome(torch.tensor([[v]]), -torch.tensor([v]), "loss") for v in (2.0, 4.0, 9.0)]
    by_batch = [Outcome(torch.tensor([[v]]), -torch.tensor([v]), "loss") for v in (1.0, 1.0, 1.0)]
    gap = gap_between(running, by_batch)
    assert gap is not None
    assert gap.size == pytest.approx(4)
    assert gap.error == pytest.approx(math.sqrt(13 / 3))
    assert not gap.is_harm  # for three batches that is luck
    same = gap_between(by_batch, by_batch)
    assert same is not None
    assert not same.is_harm


class Nothing(nn.Module):
    """Keeps what it computes to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.model = off()

    def forward(self, x: Tensor) -> None:
        self.kept = self.model(x)


class Ragged(Nothing):
    """As detectors answer: with what was found."""

    def forward(self, x: Tensor) -> Tensor:
        answers = self.model(x)
        return answers[answers[:, 0] > answers[:, 1].mean()]


def why_skipped(model: nn.Module, batches: object, rule: str = "NS401") -> str:
    diagnosis = check(model, batches)
    assert rule not in diagnosis.silent
    return next(each.reason for each in diagnosis.skipped if each.code == rule)


@pytest.mark.parametrize(
    ("model", "batches", "why"),
    [
        (Nothing, data, "returned no floating-point tensor; pass forward="),
        (lambda: Loss(off()), lambda: named()[:1], "needs two batches or more"),
        (Ragged, data, "needs answers of one shape"),
    ],
)
def test_what_cannot_be_compared_is_skipped_and_not_silent(
    model: Callable[[], nn.Module], batches: Callable[[], object], why: str
) -> None:
    assert why in why_skipped(model(), batches())


def test_without_a_batch_norm_there_is_nothing_to_compare() -> None:
    class Plain(Nothing):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(4, 3)

    assert "NS401" in check(Plain(), data()).silent


class InOrder(nn.Module):
    """Refuses rows that come twice."""

    def __init__(self) -> None:
        super().__init__()
        self.model = fitted()

    def forward(self, x: Tensor) -> Tensor:
        if len(x.unique(dim=0)) < len(x):
            msg = "a row came twice"
            raise ValueError(msg)
        return self.model(x)


def test_a_model_that_does_not_take_other_rows_is_not_said_to_be_independent_of_them() -> None:
    assert "a row came twice" in why_skipped(InOrder(), data(), "NS406")
    assert "an answer for each row" in why_skipped(Loss(fitted()), named(), "NS406")
    assert "NS406" in check(fitted(), data()).silent
