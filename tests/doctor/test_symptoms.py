"""A symptom in somebody's words finds the rules that cause it."""

import pytest

from normscope import InputError
from normscope.doctor import explain
from normscope.doctor._rules import Rule, all_rules
from normscope.doctor._symptoms import Symptoms, _items, words_of


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_a_rules_own_symptoms_find_it_among_the_first_three(rule: Rule) -> None:
    symptoms = Symptoms(all_rules())
    for said in _items(rule.section("Symptoms")):
        found = [match.rule.code for match in symptoms.matches(said)[:3]]
        assert rule.code in found, f"{said}: {found}"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("nan in eval", "NS302"),
        ("NaNs at inference time", "NS302"),
        ("evalution is nann but trainig fine", "NS302"),
        ("eval is worse than train", "NS401"),
        ("Expected more than 1 vlaue per chanel when training", "NS402"),
    ],
)
def test_other_words_and_slips_find_it(said: str, code: str) -> None:
    assert code in [match.rule.code for match in Symptoms(all_rules()).matches(said)[:3]]
    assert f". **{code}**" in explain(said)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("accuracy drops when I set model.eval()", "NS401"),
        ("good in train, bad in eval", "NS401"),
        ("expected more than 1 value per channel", "NS402"),
        ("Expected more than 1 value per channel when training, got torch.Size([1, 64])", "NS402"),
        ("model.eval() raises expected more than 1 value per channel", "NS303"),
    ],
)
def test_what_is_asked_most_finds_its_rule_first(said: str, code: str) -> None:
    assert Symptoms(all_rules()).matches(said)[0].rule.code == code


def test_words_that_no_rule_knows_find_nothing() -> None:
    assert Symptoms(all_rules()).matches("zebra giraffe") == []
    with pytest.raises(InputError, match="none has symptoms in these words"):
        explain("zebra giraffe")


def test_words_of_no_weight_find_nothing() -> None:
    with pytest.raises(InputError):
        explain("why is it so")


@pytest.mark.parametrize("asked", ["NS302", "ns302", " nonfinite-stats "])
def test_a_page_is_found_by_code_and_by_name(asked: str) -> None:
    page = explain(asked)
    assert page.startswith("# NS302: nonfinite-stats\n\nA running mean")
    assert "## References" in page


@pytest.mark.parametrize("asked", ["NS392", "NS3O2", "ns32"])
def test_an_unknown_code_names_the_nearest(asked: str) -> None:
    with pytest.raises(InputError, match=r"The nearest is NS30\d|The nearest is NS302"):
        explain(asked)


def test_stems_bring_forms_of_a_word_together_and_keep_words_apart() -> None:
    assert words_of("losses exploding") == words_of("loss explod")
    assert words_of("loss") != words_of("los")
