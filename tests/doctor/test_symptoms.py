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
        ("accuracy is 10% in eval mode and 95% in train mode", "NS401"),
        ("accuracy 0.95 in train() but 0.1 in eval()", "NS401"),
        ("model works in training but fails at test time", "NS401"),
        ("validation loss goes up while training loss goes down", "NS401"),
        ("different answer for same image depending on batch", "NS406"),
        ("single image prediction is different from the prediction in a batch", "NS406"),
        ("test accuracy changes when I shuffle the test set", "NS406"),
        ("forgot to call model.eval()", "NS502"),
        ("model.train() in validation loop", "NS502"),
        ("non deterministic predictions at inference", "NS502"),
        ("results differ each time I run inference", "NS502"),
        ("after validation the model stops learning", "NS505"),
        ("my frozen layers are still changing", "NS501"),
        ("GAN discriminator real and fake batches separately", "NS503"),
        ("small batch size hurts accuracy", "NS402"),
        ("validation loss is oscillating wildly", "NS101"),
        ("my loss is stuck and does not decrease", "NS203"),
        ("loading the checkpoint gives random predictions", "NS301"),
        ("ONNX export gives different output than pytorch", "NS702"),
        ("multi gpu training gives worse accuracy", "NS504"),
    ],
)
def test_what_is_asked_most_finds_its_rule_first(said: str, code: str) -> None:
    assert Symptoms(all_rules()).matches(said)[0].rule.code == code


@pytest.mark.parametrize(
    "said",
    [
        "different answer for same image depending on batch",
        "same image gives different predictions in different batches",
        "output depends on other samples in the batch",
    ],
)
def test_batch_statistics_in_eval_come_with_a_training_mode_that_was_left_on(said: str) -> None:
    """Two causes look the same from outside: eval mode does not help, or nobody called eval()."""
    found = [match.rule.code for match in Symptoms(all_rules()).matches(said)]
    assert {"NS406", "NS502"} <= set(found[:4]), found


def test_rules_of_evaluation_are_not_named_where_eval_mode_is_not_the_trouble() -> None:
    """Each of the answers above has to be one among others."""
    found = [match.rule.code for match in Symptoms(all_rules()).matches("gamma shrinks to zero")]
    assert found[0] == "NS601"
    assert not {"NS401", "NS406", "NS502"} & set(found)


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
    assert words_of("changes changing changed") == words_of("change") * 3
    assert words_of("98 % in train, 31% in eval") == words_of("percent train percent eval")
    assert words_of("loss") != words_of("los")
