"""The exact sentences on small made-up studies, the surprising ones among them."""

# ruff: noqa: E501 - sentences stand whole, as they are read

import re
import string

import numpy as np
import pytest

from normscope.records import Study
from normscope.report import verdict
from normscope.report._verdict_words import WORDS
from normscope.studies._analysis import analyse
from tests.studies.made_up import DIVERGED, Ends, cell, study

A, B, C = "norm=batch", "norm=none", "norm=layer"
TESTS = (90.0, 90.2, 90.1, 89.9, 90.0)
STEPS = (500, 520, 480, 500, 540)


def sentences(cells, reference=B, language="en", **more):
    return verdict(analysed(cells, reference, **more), language)


def analysed(cells, reference=B, **more) -> Study:
    made = study(cells, reference=reference, **more)
    return made.model_copy(update={"analysis": analyse(made)})


def plus(*gains):
    return [round(test + gain, 2) for test, gain in zip(TESTS, gains, strict=True)]


BETTER = plus(0.4, 0.5, 0.6, 0.5, 0.4)
WORSE = plus(-0.4, -0.5, -0.6, -0.5, -0.4)
ALIKE = plus(0.1, -0.1, 0.0, 0.1, -0.2)
HALF = (240, 260, 260, 240, 280)
PLAIN = cell(TESTS, STEPS)


def expect(found, *start):
    assert found[: len(start)] == list(start)


# --- one rate ---


def test_an_arm_that_is_better_and_faster():
    assert sentences({(A, 0.02): cell(BETTER, HALF), (B, 0.02): PLAIN}) == [
        "norm=batch ends more accurate than norm=none: +0.48 points of test accuracy [0.38, 0.58] (95 % interval, n = 5 paired seeds). Both at learning rate 0.02.",
        "norm=batch is faster: to reach and keep 80 % validation accuracy it needs 0.50 times the steps of norm=none [0.47, 0.54].",
        "Conditions: made-up, 12,000 training, 900 validation and 10,000 test rows; hidden layers of 1000, 500, 250, 250 and 250; scaled weights; 10 epochs; rate constant; batches of 120; learning rate 0.02; seeds 0–4; accuracy under running statistics. The target was given: 80 %.",
    ]


def test_one_epoch_is_one():
    made = analysed({(A, 0.02): cell(BETTER, HALF), (B, 0.02): PLAIN})
    for epochs, said in ((1, "; 1 epoch; "), (2, "; 2 epochs; ")):
        recipe = made.design.recipe.with_settings({"epochs": epochs})
        design = made.design.model_copy(update={"recipe": recipe})
        assert said in verdict(made.model_copy(update={"design": design}))[-1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"epochs": 100}, "; 100 epochs; rate constant up to epoch 15, then falling linearly; "),
        ({"epochs": 17}, "; 17 epochs; rate constant up to epoch 15, then falling linearly; "),
        ({"epochs": 16}, "; 16 epochs; rate constant; "),  # it would fall after the sixteenth
        ({"hidden": ()}, "; no hidden layer; scaled"),
        ({"hidden": (30,)}, "; one hidden layer of 30; scaled"),
        ({"batch_size": 7}, "; batches of 7; "),
        ({"model": "mine:build"}, "rows; the model mine:build; 10 epochs; rate constant; batches"),
    ],
)
def test_the_conditions_are_those_that_all_arms_share(fields, said):
    made = analysed({(A, 0.02): cell(BETTER, HALF), (B, 0.02): PLAIN})
    recipe = made.design.recipe.with_settings(fields)
    design = made.design.model_copy(update={"recipe": recipe})
    assert said in verdict(made.model_copy(update={"design": design}))[-1]


@pytest.mark.parametrize(
    ("field", "values", "unsaid"),
    [
        ("hidden", ([30], [60]), "hidden layer"),
        ("batch_size", (60, 120), "batches"),
        ("constant_epochs", (1, 2), "rate constant"),
        ("epochs", (5, 10), "epochs;"),
        ("weights", ("scaled", "plain"), "weights"),
        ("norm", ("none", "batch"), "norm="),
    ],
)
def test_what_is_varied_is_no_condition(field, values, unsaid):
    one, other = (f"{field}={value}" for value in values)
    settings = {one: {field: values[0]}, other: {field: values[1]}}
    cells = {(one, 0.02): PLAIN, (other, 0.02): cell(BETTER, HALF)}
    conditions = sentences(cells, reference=one, settings=settings)[-1]
    there = {"hidden layer", "batches", "rate constant", "epochs;", "weights", "norm="}
    assert {words for words in there if words not in conditions} == {unsaid}


def test_in_chinese():
    assert sentences({(A, 0.02): cell(BETTER, HALF), (B, 0.02): PLAIN}, language="zh") == [
        "norm=batch（批归一化）的最终准确率高于 norm=none（无归一化）：测试准确率相差 +0.48 个百分点 [0.38, 0.58]（95% 置信区间，n = 5 个配对种子）。两者的学习率均为 0.02。",
        "norm=batch 收敛更快：达到并保持 80% 的验证准确率，所需步数为 norm=none 的 0.50 倍 [0.47, 0.54]。",
        "条件：made-up，训练 12,000、验证 900、测试 10,000 个样本；隐藏层宽 1000、500、250、250 与 250；scaled 权重参数化；10 轮；学习率保持不变；每批 120 个样本；学习率 0.02；种子 0–4；准确率使用运行统计量。目标由使用者给定：80%。",
    ]


def test_an_arm_that_is_worse_and_slower():
    expect(
        sentences({(A, 0.02): cell(WORSE, STEPS), (B, 0.02): cell(TESTS, HALF)}),
        "norm=batch ends less accurate than norm=none: −0.48 points of test accuracy [−0.58, −0.38] (95 % interval, n = 5 paired seeds). Both at learning rate 0.02.",
        "norm=batch is slower: to reach and keep 80 % validation accuracy it needs 1.99 times the steps of norm=none [1.84, 2.11].",
    )


def test_no_difference_says_what_is_excluded():
    expect(
        sentences({(A, 0.02): cell(ALIKE, STEPS[::-1]), (B, 0.02): PLAIN}),
        "No difference in final accuracy found between norm=batch and norm=none, and differences above 0.18 points are excluded: −0.02 points of test accuracy [−0.18, 0.14] (95 % interval, n = 5 paired seeds). Both at learning rate 0.02.",
        "No difference in speed found, and factors above 1.08 either way are excluded: to reach and keep 80 % validation accuracy norm=batch needs 1.00 times the steps of norm=none [0.93, 1.08].",
    )


def test_two_arms_that_are_the_same():
    expect(
        sentences({(A, 0.02): PLAIN, (B, 0.02): PLAIN}),
        "norm=batch and norm=none end with exactly the same test accuracy, seed by seed (n = 5 paired seeds). Both at learning rate 0.02.",
        "No difference in speed found, and factors above 1.02 either way are excluded: to reach and keep 80 % validation accuracy norm=batch needs 1.00 times the steps of norm=none [0.98, 1.02].",
    )


FAR = (60.0, 90.0, 88.0, 91.0, 89.0)


def test_an_interval_that_excludes_nothing_of_interest_says_so():
    cells = {(A, 0.02): cell(FAR, (60, 500, 900, 100, 480)), (B, 0.02): PLAIN}
    expect(
        sentences(cells),
        "No difference in final accuracy found between norm=batch and norm=none, but 5 seeds that differ this much are too few to exclude any of interest: −6.44 points of test accuracy [−22.86, 9.98] (95 % interval, n = 5 paired seeds). Both at learning rate 0.02.",
        "No difference in speed found, but 5 seeds that differ this much are too few to exclude any of interest: to reach and keep 80 % validation accuracy norm=batch needs 0.52 times the steps of norm=none [0.0799, 2.20].",
    )
    assert sentences(cells, language="zh")[:2] == [
        "未发现 norm=batch（批归一化）与 norm=none（无归一化）的最终准确率有差异，但 5 个种子之间相差如此之大，数量不足以排除任何值得关注的差异：测试准确率相差 −6.44 个百分点 [−22.86, 9.98]（95% 置信区间，n = 5 个配对种子）。两者的学习率均为 0.02。",
        "未发现收敛速度有差异，但 5 个种子之间相差如此之大，数量不足以排除任何值得关注的差异：达到并保持 80% 的验证准确率，norm=batch 所需步数为 norm=none 的 0.52 倍 [0.0799, 2.20]。",
    ]


def test_what_is_of_interest_is_half_of_what_there_is_to_learn():
    """Between guessing (10 %) and 16 %, three points are all that counts; of 80, ten."""
    for level, excluded in ((0.0, True), (-74.0, False)):
        tests = [round(test + level, 2) for test in TESTS]
        ours = [round(t + gain, 2) for t, gain in zip(tests, (4, -4, 0, 4, -4), strict=True)]
        (said, *_) = sentences({(A, 0.02): cell(ours), (B, 0.02): cell(tests)})
        assert ("points are excluded" in said) == excluded
        assert ("too few" in said) != excluded


def test_two_seeds_exclude_little():
    cells = {(A, 0.02): cell(BETTER[:2]), (B, 0.02): cell(TESTS[:2])}
    expect(
        sentences(cells),
        "No difference in final accuracy found between norm=batch and norm=none, and differences above 1.09 points are excluded: +0.45 points of test accuracy [−0.19, 1.09] (95 % interval, n = 2 paired seeds). Both at learning rate 0.02.",
    )


# --- one seed ---


def rows(*right):
    return np.repeat([True, False, True, False], right).tolist(), np.repeat(
        [True, True, False, False], right
    ).tolist()


ONE_SEED = {
    "en": "One seed decides nothing: with seed 0, norm=batch against norm=none is +4.00 points of test accuracy; another seed may turn that around. Both at learning rate 0.02.",
    "zh": "单个种子不足以下结论：在种子 0 下，norm=batch（批归一化）与 norm=none（无归一化）的测试准确率相差 +4.00 个百分点，换一个种子结果可能相反。两者的学习率均为 0.02。",
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_one_seed_decides_nothing(language):
    both, only_b, only_a, neither = 850, 30, 70, 50
    ours, theirs = rows(both, only_b, only_a, neither)
    cells = {
        (A, 0.02): [Ends(92.0, 240, right=ours)],
        (B, 0.02): [Ends(88.0, None, right=theirs)],
    }
    expect(sentences(cells, language=language, test_rows=1000), ONE_SEED[language])


def test_one_seed_whose_networks_are_alike():
    ours, theirs = rows(850, 50, 55, 45)
    cells = {
        (A, 0.02): [Ends(90.5, 240, right=ours)],
        (B, 0.02): [Ends(90.0, 300, right=theirs)],
    }
    expect(
        sentences(cells, test_rows=1000),
        "One seed decides nothing: with seed 0, norm=batch against norm=none is +0.50 points of test accuracy; another seed may turn that around. Both at learning rate 0.02.",
    )


# --- never, and diverged ---


def test_a_reference_that_never_arrives_makes_a_bound():
    cells = {(A, 0.02): cell(BETTER, HALF), (B, 0.02): cell(TESTS, [500, None, 480, None, 540])}
    expect(
        sentences(cells)[1:],
        "norm=batch is faster: to reach and keep 80 % validation accuracy it needs at most 0.38 times the steps of norm=none [up to 0.62]; in 2 of 5 runs norm=none never gets there, and counts with all its steps.",
    )


def test_an_arm_that_never_arrives_makes_the_other_bound():
    cells = {(A, 0.02): cell(BETTER, [None] * 5), (B, 0.02): PLAIN}
    expect(
        sentences(cells)[1:],
        "norm=batch is slower: to reach and keep 80 % validation accuracy it needs at least 1.97 times the steps of norm=none [from 1.86]; in 5 of 5 runs norm=batch never gets there, and counts with all its steps.",
    )


def test_runs_of_both_that_never_arrive_make_no_bound():
    cells = {
        (A, 0.02): cell(BETTER, [240, 260, None, 240, 280]),
        (B, 0.02): cell(TESTS, [900, None, None, 880, 900]),
    }
    expect(
        sentences(cells)[1:],
        "No difference in speed found: to reach and keep 80 % validation accuracy norm=batch needs 0.36 times the steps of norm=none [0.22, 2.78]; norm=batch never gets there in 1 of 5 runs, norm=none in 2 of 5, and they count with all their steps.",
    )


def test_a_bound_on_the_wrong_side_says_nothing():
    cells = {(A, 0.02): cell(BETTER, STEPS), (B, 0.02): cell(TESTS, [100, 100, None, 100, 100])}
    expect(
        sentences(cells)[1:],
        "Which of norm=batch and norm=none is faster to 80 % validation accuracy cannot be said; in 1 of 5 runs norm=none never gets there, and counts with all its steps.",
    )


def test_nobody_arrives():
    cells = {(A, 0.02): cell(BETTER, [None] * 5), (B, 0.02): cell(TESTS, [None] * 5)}
    expect(
        sentences(cells)[1:],
        "Speed cannot be compared: no run of norm=batch or of norm=none reaches and keeps 80 % validation accuracy.",
    )


def test_both_arms_diverge_everywhere():
    gone = [DIVERGED] * 3
    found = sentences({(A, 0.1): gone, (B, 0.1): gone, (A, 0.2): gone, (B, 0.2): gone}, target=None)
    assert found == [
        "There is nothing to compare: all runs of norm=batch and of norm=none diverged, even at the best of the rates that were tried.",
        "Speed cannot be compared: norm=none ends no better than guessing, so it sets no target.",
        "Diverged: 3 of 3 runs of norm=batch at learning rate 0.1; 3 of 3 runs of norm=batch at learning rate 0.2; 3 of 3 runs of norm=none at learning rate 0.1; 3 of 3 runs of norm=none at learning rate 0.2. A diverged run counts with the accuracy of guessing (10 %), and as one that never reaches the target.",
        "Conclusions are by Holm's procedure over all comparisons of one question and measure (1 at own best rates and 2 at equal rates); every interval stands for itself.",
        "Conditions: made-up, 12,000 training, 900 validation and 10,000 test rows; hidden layers of 1000, 500, 250, 250 and 250; scaled weights; 10 epochs; rate constant; batches of 120; learning rates 0.1 and 0.2; seeds 0–2; accuracy under running statistics. Best rates were chosen on the validation set, and are reported on the test set.",
    ]


def test_a_reference_that_diverges_sets_no_target():
    found = sentences({(A, 0.1): PLAIN, (B, 0.1): [DIVERGED] * 5}, target=None)
    assert found == [
        "norm=batch ends more accurate than norm=none: +80.04 points of test accuracy [79.90, 80.18] (95 % interval, n = 5 paired seeds). Both at learning rate 0.1.",
        "Speed cannot be compared: norm=none ends no better than guessing, so it sets no target.",
        "Diverged: 5 of 5 runs of norm=none at learning rate 0.1. A diverged run counts with the accuracy of guessing (10 %), and as one that never reaches the target.",
        "Conditions: made-up, 12,000 training, 900 validation and 10,000 test rows; hidden layers of 1000, 500, 250, 250 and 250; scaled weights; 10 epochs; rate constant; batches of 120; learning rate 0.1; seeds 0–4; accuracy under running statistics.",
    ]


def test_divergence_now_and_then_is_said_to_be_the_finding():
    cells = {(A, 0.1): PLAIN, (B, 0.1): [*PLAIN[:3], DIVERGED, DIVERGED]}
    assert sentences(cells)[2:4] == [
        "Diverged: 2 of 5 runs of norm=none at learning rate 0.1. A diverged run counts with the accuracy of guessing (10 %), and as one that never reaches the target.",
        "Where some runs of an arm diverge and others do not, what counts is how often: the mean hangs on that, and its interval covers less often than it says.",
    ]


# --- several rates ---


def swept(ours, theirs, rates=(0.1, 0.2, 0.3)):
    """Arms at three rates, the second of which may be theirs or ours."""
    return {
        (name, rate): cell(tests)
        for name, every in ((A, ours), (B, theirs))
        for rate, tests in zip(rates, every, strict=True)
    }


LOW = plus(-20.0, -21.0, -19.0, -20.5, -20.0)


def test_the_gain_comes_with_the_other_rate():
    found = sentences(swept((LOW, ALIKE, BETTER), (LOW, TESTS, LOW)))
    assert found == [
        "norm=batch ends more accurate than norm=none: +0.48 points of test accuracy [0.38, 0.58] (95 % interval, n = 5 paired seeds). Each at its own best learning rate: 0.3 and 0.2.",
        "norm=batch does best at 0.3, the largest learning rate that was tried: its true best may be larger.",
        "No difference in speed found, and factors above 1.05 either way are excluded: to reach and keep 80 % validation accuracy norm=batch needs 1.00 times the steps of norm=none [0.95, 1.05].",
        "The difference comes with the other learning rate: of these +0.48 points, −0.02 [−0.18, 0.14] are there at 0.2, where norm=none is best, and +0.50 [0.32, 0.68] come when norm=batch goes to its own best rate, 0.3.",
        "At equal learning rates the final accuracy of norm=batch (in points, against norm=none) is higher at 0.3 (+20.58 [19.69, 21.47]); not found to differ at 0.1 (0.00 [0.00, 0.00]) and 0.2 (−0.02 [−0.18, 0.14]).",
        "At equal learning rates norm=batch (in steps, against norm=none) is not found to differ at 0.1 (1.00 times [0.95, 1.05]), 0.2 (1.00 times [0.95, 1.05]) and 0.3 (1.00 times [0.95, 1.05]).",
        "Conclusions are by Holm's procedure over all comparisons of one question and measure (1 at own best rates, 3 at equal rates and 1 between rates); every interval stands for itself.",
        "Conditions: made-up, 12,000 training, 900 validation and 10,000 test rows; hidden layers of 1000, 500, 250, 250 and 250; scaled weights; 10 epochs; rate constant; batches of 120; learning rates 0.1, 0.2 and 0.3; seeds 0–4; accuracy under running statistics. Best rates were chosen on the validation set, and are reported on the test set. The target was given: 80 %.",
    ]


def test_the_gain_is_there_at_equal_rates():
    found = sentences(
        swept(
            (LOW, plus(0.4, 0.5, 0.6, 0.5, 0.4), plus(0.5, 0.3, 0.8, 0.5, 0.4)), (LOW, TESTS, LOW)
        )
    )
    expect(
        found[3:],
        "The difference is there at equal rates: of these +0.50 points, +0.48 [0.38, 0.58] are there at 0.2, where norm=none is best, and +0.02 [−0.16, 0.20] come when norm=batch goes to its own best rate, 0.3.",
    )


def test_the_gain_is_of_both():
    found = sentences(swept((LOW, BETTER, plus(0.9, 0.8, 1.2, 1.0, 1.1)), (LOW, TESTS, LOW)))
    expect(
        found[3:],
        "The difference is there at equal rates, and grows with the other rate: of these +1.00 points, +0.48 [0.38, 0.58] are there at 0.2, where norm=none is best, and +0.52 [0.34, 0.70] come when norm=batch goes to its own best rate, 0.3.",
    )


def test_what_the_gain_comes_with_cannot_be_said():
    equal, whole = plus(0.0, 0.6, -0.1, 0.5, 0.1), plus(0.4, 0.5, 0.6, 0.5, 0.4)
    found = sentences(swept((LOW, equal, whole), (LOW, TESTS, LOW)))
    expect(
        found[3:],
        "Whether the difference comes with the other learning rate cannot be said: of these +0.48 points, +0.22 [−0.17, 0.61] are there at 0.2, where norm=none is best, and +0.26 [−0.14, 0.66] come when norm=batch goes to its own best rate, 0.3.",
    )


def test_a_gain_at_the_same_best_rate_is_not_of_the_rate():
    found = sentences(swept((LOW, BETTER, LOW), (LOW, TESTS, LOW)))
    expect(
        found[2:],
        "Both are best at the same learning rate, so the difference does not come from the rate.",
    )


def test_a_gain_at_one_rate_that_is_gone_at_own_best():
    found = sentences(swept((LOW, ALIKE, TESTS), (TESTS, plus(-0.1, 0.0, -0.1, -0.2, 0.0), LOW)))
    assert found == [
        "norm=batch and norm=none end with exactly the same test accuracy, seed by seed (n = 5 paired seeds). Each at its own best learning rate: 0.3 and 0.1.",
        "norm=batch does best at 0.3 and norm=none at 0.1, the two ends of what was tried: their true best may lie beyond.",
        "No difference in speed found, and factors above 1.05 either way are excluded: to reach and keep 80 % validation accuracy norm=batch needs 1.00 times the steps of norm=none [0.95, 1.05].",
        "At equal learning rates the final accuracy of norm=batch (in points, against norm=none) is higher at 0.3 (+20.10 [19.18, 21.02]); lower at 0.1 (−20.10 [−21.02, −19.18]); not found to differ at 0.2 (+0.06 [−0.20, 0.32]).",
        "At equal learning rates norm=batch (in steps, against norm=none) is not found to differ at 0.1 (1.00 times [0.95, 1.05]), 0.2 (1.00 times [0.95, 1.05]) and 0.3 (1.00 times [0.95, 1.05]).",
        "So a comparison at one learning rate can show a difference that is not found once each arm has its own best rate.",
        "Conclusions are by Holm's procedure over all comparisons of one question and measure (1 at own best rates, 3 at equal rates and 1 between rates); every interval stands for itself.",
        "Conditions: made-up, 12,000 training, 900 validation and 10,000 test rows; hidden layers of 1000, 500, 250, 250 and 250; scaled weights; 10 epochs; rate constant; batches of 120; learning rates 0.1, 0.2 and 0.3; seeds 0–4; accuracy under running statistics. Best rates were chosen on the validation set, and are reported on the test set. The target was given: 80 %.",
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (0, 1, "norm=batch does best at 0.1, the smallest learning rate that was tried: its true best may be smaller."),
        (1, 2, "norm=none does best at 0.3, the largest learning rate that was tried: its true best may be larger."),
        (0, 0, "Both do best at 0.1, the smallest learning rate that was tried: their true best may be smaller."),
        (2, 2, "Both do best at 0.3, the largest learning rate that was tried: their true best may be larger."),
        (0, 2, "norm=batch does best at 0.1 and norm=none at 0.3, the two ends of what was tried: their true best may lie beyond."),
        (1, 1, ""),
    ],
)  # fmt: skip
def test_best_rates_at_the_edge_are_told_right_after_the_accuracy(ours, theirs, said):
    places = [[BETTER if at == best else LOW for at in range(3)] for best in (ours, theirs)]
    found = sentences(swept(*places))
    assert [s for s in found if "tried" in s] == [said] * bool(said)
    assert not said or found[1] == said


def test_a_best_rate_at_the_edge_in_chinese():
    found = sentences(swept((LOW, LOW, BETTER), (LOW, LOW, TESTS)), language="zh")
    assert found[1] == "两者都在所试的最大学习率 0.3 下表现最好，其真正的最佳学习率可能更大。"


def test_no_common_rate():
    cells = {
        (A, 0.1): cell(BETTER),
        (A, 0.2): cell(ALIKE),
        (B, 0.1): PLAIN,
        (B, 0.2): PLAIN,
    }
    made = analysed(cells)
    apart = tuple(c for c in made.analysis.comparisons if c.question == "own-best")
    analysis = made.analysis.model_copy(update={"comparisons": apart})
    assert (
        "norm=batch ends more accurate than norm=none: +0.48 points of test accuracy [0.38, 0.58] (95 % interval, n = 5 paired seeds). Each at its own best learning rate, 0.1 for both."
        in verdict(made.model_copy(update={"analysis": analysis}))
    )


def test_where_the_rates_are_the_arms():
    names = ("learning_rate=0.1", "learning_rate=0.2")
    cells = {(names[0], 0.1): cell(TESTS), (names[1], 0.2): cell(BETTER)}
    assert sentences(cells, reference=names[0]) == [
        "learning_rate=0.2 ends more accurate than learning_rate=0.1: +0.48 points of test accuracy [0.38, 0.58] (95 % interval, n = 5 paired seeds).",
        "No difference in speed found, and factors above 1.05 either way are excluded: to reach and keep 80 % validation accuracy learning_rate=0.2 needs 1.00 times the steps of learning_rate=0.1 [0.95, 1.05].",
        "Conditions: made-up, 12,000 training, 900 validation and 10,000 test rows; hidden layers of 1000, 500, 250, 250 and 250; norm=batch; scaled weights; 10 epochs; rate constant; batches of 120; learning rates 0.1 and 0.2; seeds 0–4; accuracy under running statistics. The target was given: 80 %.",
    ]


# --- several arms ---


def test_what_one_interval_shows_holm_may_not():
    near = plus(0.1, 0.5, 0.2, 0.5, 0.1)
    found = sentences({(A, 0.1): cell(near), (C, 0.1): cell(ALIKE), (B, 0.1): PLAIN})
    assert found == [
        "No difference in final accuracy established between norm=batch and norm=none: +0.28 points of test accuracy [0.03, 0.53] (95 % interval, n = 5 paired seeds). The interval alone leaves out zero, but this is one of 2 comparisons, and Holm's p is 0.076. Both at learning rate 0.1.",
        "norm=batch is faster: to reach and keep 80 % validation accuracy it needs 0.39 times the steps of norm=none [0.37, 0.41].",
        "No difference in final accuracy found between norm=layer and norm=none, and differences above 0.18 points are excluded: −0.02 points of test accuracy [−0.18, 0.14] (95 % interval, n = 5 paired seeds). Both at learning rate 0.1.",
        "norm=layer is faster: to reach and keep 80 % validation accuracy it needs 0.39 times the steps of norm=none [0.37, 0.41].",
        "Conclusions are by Holm's procedure over all comparisons of one question and measure (2 at own best rates); every interval stands for itself.",
        "Conditions: made-up, 12,000 training, 900 validation and 10,000 test rows; hidden layers of 1000, 500, 250, 250 and 250; scaled weights; 10 epochs; rate constant; batches of 120; learning rate 0.1; seeds 0–4; accuracy under running statistics. The target was given: 80 %.",
    ]


# --- before there is anything ---


def test_a_study_on_its_way_has_no_verdict():
    made = study({(A, 0.1): PLAIN, (B, 0.1): PLAIN}, reference=B)
    running = made.model_copy(update={"status": "running", "runs": made.runs[:3]})
    assert verdict(running) == ["There is no verdict yet: 3 of 10 runs have ended."]
    assert verdict(running, "zh") == ["尚无结论：10 次训练中已结束 3 次。"]


def test_one_arm_is_nothing_to_compare():
    assert (
        sentences({(B, 0.1): PLAIN})[0]
        == "There is nothing to compare: the study has one arm, norm=none."
    )


# --- the words ---


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_know_the_same_figures(key):
    names = [
        {name for _, name, _, _ in string.Formatter().parse(text) if name} for text in WORDS[key]
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("key", WORDS)
def test_chinese_is_punctuated_as_chinese(key):
    chinese = re.sub(r"\{\w+\}|\[.*\]", "", WORDS[key][1])
    assert not re.search(r"[,;:()]", chinese)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_sentence_is_finished(language):
    for cells in (
        swept((LOW, ALIKE, BETTER), (LOW, TESTS, LOW)),
        {(A, 0.1): PLAIN, (B, 0.1): [*PLAIN[:3], DIVERGED, DIVERGED]},
    ):
        for sentence in sentences(cells, language=language):
            assert sentence.endswith("." if language == "en" else "。")
            assert not re.search(r"\{|nan|  ", sentence)
