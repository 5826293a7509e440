"""Rules by what they are called, and by what people see who have the trouble."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import cached_property

from normscope._errors import InputError
from normscope.doctor._rules import Rule, all_rules

_MOST = 5
_NEAR_THE_BEST = 0.35
"""Rules whose score is below this share of the best one's are not named."""
_WORDS = re.compile(r"[a-z0-9_]+")
_PERCENT = re.compile(r"\d[\d.,]*\s*%")
"""Which share it is says nothing; that one is told does."""
_IDLE = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "do",
        "does",
        "down",
        "for",
        "from",
        "get",
        "gets",
        "give",
        "gives",
        "go",
        "goes",
        "got",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "me",
        "my",
        "of",
        "on",
        "or",
        "our",
        "so",
        "some",
        "than",
        "that",
        "the",
        "their",
        "then",
        "there",
        "they",
        "this",
        "to",
        "up",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "why",
        "will",
        "with",
        "you",
        "your",
    ]
)
_SAME = {
    "evaluation": "eval", "evaluating": "eval", "evaluate": "eval", "evaluated": "eval",
    "validation": "eval", "val": "eval", "inference": "eval", "training": "train",
    "trained": "train", "acc": "accuracy", "bn": "batchnorm", "nans": "nan", "inf": "infinite",
    "infinity": "infinite", "crashes": "raise", "crash": "raise", "fails": "raise",
    "worse": "bad", "poor": "bad", "wrong": "bad", "terrible": "bad", "drops": "bad",
    "terribly": "bad", "hurts": "bad", "works": "good", "testing": "test", "tested": "test",
    "answer": "prediction", "answers": "prediction", "predicts": "prediction",
    "output": "prediction", "outputs": "prediction", "oscillates": "jump", "oscillating": "jump",
    "fluctuates": "jump", "fluctuating": "jump", "updates": "change", "updating": "change",
    "sample": "row", "samples": "row", "examples": "row", "gpus": "gpu", "multiple": "several",
    "different": "differ",
}  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words of a text that say something, in a form in which they can be compared.

    Example:
        >>> words_of("Evaluation is NaN while the losses were falling")
        ['eval', 'nan', 'loss', 'fall']
    """
    told = _PERCENT.sub(" percent ", text.lower()).replace("batch norm", "batchnorm")
    found = _WORDS.findall(told)
    return [_stem(_SAME.get(word, word)) for word in found if word not in _IDLE]


def _stem(word: str) -> str:
    """Without what a plural, a past or a progress adds."""
    for ending, rest in (("sses", "ss"), ("ies", "y"), ("ing", ""), ("ed", ""), ("s", "")):
        stem = word.removesuffix(ending) + rest
        if word.endswith(ending) and len(stem) > 2 and not word.endswith("ss"):
            return stem.removesuffix("e")
    return word.removesuffix("e")


@dataclass(frozen=True)
class Match:
    """A rule that may cause what somebody sees.

    Attributes:
        rule: it.
        symptom: which of its own symptoms is the nearest.
        score: how near; of use only to compare rules.
    """

    rule: Rule
    symptom: str
    score: float


class Symptoms:
    """Finds rules by words: those that share rare ones with what a person says come first.

    A word weighs the logarithm of how few rules know it. A rule is as near as its nearest symptom
    (in words and in their order: "worse than train" is not "train gets worse"), and a little nearer
    for its summary and its page.

    Args:
        rules: those to look among.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._symptoms = {rule.code: _items(rule.section("Symptoms")) for rule in rules}
        self._pages = {rule.code: Counter(words_of(f"{rule.name} {rule.page}")) for rule in rules}

    @cached_property
    def _weights(self) -> Mapping[str, float]:
        known = Counter(word for page in self._pages.values() for word in page)
        return {word: math.log(1 + len(self._rules) / count) for word, count in known.items()}

    def matches(self, text: str) -> list[Match]:
        """The rules that may cause it, the likeliest first; none if no word is known."""
        asked = list(filter(None, map(self._known, words_of(text))))
        if not asked:
            return []
        found = sorted(
            (self._match(rule, asked) for rule in self._rules),
            key=lambda match: -match.score,
        )
        return [m for m in found if m.score > _NEAR_THE_BEST * found[0].score][:_MOST]

    def _known(self, word: str) -> str:
        """The word, or the one that it is a slip of; empty if no rule knows it."""
        if word in self._weights:
            return word
        return next(iter(get_close_matches(word, self._weights, n=1, cutoff=0.75)), "")

    def _match(self, rule: Rule, asked: list[str]) -> Match:
        symptoms = self._symptoms[rule.code] or [rule.summary]
        near = {symptom: self._likeness(asked, words_of(symptom)) for symptom in symptoms}
        best = max(near, key=near.__getitem__)
        page = self._pages[rule.code]
        shared = sum(self._weights[word] for word in asked if word in page)
        covered = shared / sum(self._weights[word] for word in asked)
        summary = self._likeness(asked, words_of(f"{rule.name} {rule.summary}"))
        return Match(rule, best, near[best] + 0.2 * summary + 0.1 * covered)

    def _likeness(self, asked: list[str], words: list[str]) -> float:
        """How much of one text is in another, by cosine and by share, and in the same order."""
        one, other = Counter(asked), Counter(word for word in words if word in self._weights)
        shared = sum(one[w] * other[w] * self._weights[w] ** 2 for w in one)
        if not shared:
            return 0.0
        length = math.hypot(*(n * self._weights[w] for w, n in one.items()))
        cosine = shared / length / math.hypot(*(n * self._weights[w] for w, n in other.items()))
        share = min(1.0, shared / length**2)
        order = SequenceMatcher(None, asked, words, autojunk=False).ratio()
        return (cosine + share + order) / 3


def _items(section: str) -> list[str]:
    """The items of a list."""
    return [
        " ".join(item.split()) for item in re.split(r"^- ", section, flags=re.M) if item.strip()
    ]


def explain(text: str) -> str:
    """The page of a rule, or the rules that cause a symptom; in Markdown.

    Args:
        text: a rule's code or name, or a symptom in a person's own words.

    Raises:
        InputError: if there is no such rule, or no rule knows such a symptom.

    Example:
        >>> print(explain("NS302"))
        # NS302: nonfinite-stats
        <BLANKLINE>
        A running mean or variance that is not a number, infinite, or below zero.
        ...
        >>> "NS302" in explain("evaluation is all NaN")
        True
    """
    asked, rules = text.strip(), all_rules()
    names = {name.lower(): rule for rule in rules for name in (rule.code, rule.name)}
    if rule := names.get(asked.lower()):
        return page_of(rule)
    if re.fullmatch(r"ns-?\w{1,4}", asked, re.IGNORECASE):
        raise InputError(_unknown_code(asked, rules))
    matches = Symptoms(rules).matches(asked)
    if not matches:
        msg = (
            f"{asked!r}: no rule has such a name, and none has symptoms in these words. Say what "
            "you see in others ('nan in eval'), or look through docs/rules/README.md."
        )
        raise InputError(msg)
    return _listed(asked, matches)


def page_of(rule: Rule) -> str:
    """A rule's page with its heading."""
    return f"# {rule.code}: {rule.name}\n\n{rule.page}\n"


def _listed(text: str, matches: list[Match]) -> str:
    lines = [
        f"{number}. **{match.rule.code}** {match.rule.name}: {match.rule.summary} "
        f"In people's words: *{match.symptom}*"
        for number, match in enumerate(matches, 1)
    ]
    listed = "\n".join(lines)
    first = matches[0].rule.code
    return (
        f"What may cause “{text}”, the likeliest first:\n\n{listed}\n\n"
        f"Its page: `normscope check --explain {first}`. Is it so? `normscope check` looks.\n"
    )


def _unknown_code(text: str, rules: tuple[Rule, ...]) -> str:
    codes = [rule.code for rule in rules]
    near = get_close_matches(text.upper(), codes, n=1, cutoff=0)[0]
    name = next(rule.name for rule in rules if rule.code == near)
    return (
        f"{text}: there is no such rule. The nearest is {near} ({name}); all: {', '.join(codes)}."
    )
