"""What a verdict says about one arm, held against the reference."""

import math
from collections.abc import Iterator, Sequence

from normscope.records import Analysis, Arm, Comparison, McNemar, Study
from normscope.report._numbers import number, p_value, rate, signed
from normscope.report._verdict_words import WORDS, Say, factor, points

_LEAST_OF_INTEREST, _MOST_OF_INTEREST = 1.0, 10.0
"""Points of accuracy: that differences above so many are excluded says something wherever they are
below the one, and nothing where they are above the other."""
_MOST_TIMES_OF_INTEREST = 10.0
"""The same of steps: a factor."""


class ArmVerdict:
    """One arm against the reference.

    Args:
        study: what was compared.
        analysis: what follows from its runs.
        arm: not the reference.
        say: in which language.
    """

    def __init__(self, study: Study, analysis: Analysis, arm: Arm, say: Say) -> None:
        self._study, self._analysis, self._arm, self._say = study, analysis, arm, say
        design = study.design
        self._other = next(a for a in design.arms if a.name == design.reference)
        self._names = {"arm": arm.name, "other": self._other.name}

    def sentences(self) -> list[str]:
        """All that is to be said, the final accuracy first."""
        if self._all_diverged():
            return [self._say("both diverge", **self._explained())]
        sentences = [*self._accuracy(), *self._edges(), *self._mcnemar(), *self._speed()]
        if len(self._study.design.rates_of(self._arm)) > 1:
            sentences += [*self._carried(), *self._at_equal_rates()]
        return sentences

    def _found(self, question: str, measure: str) -> list[Comparison]:
        """The comparisons of a kind, of this arm."""
        return [
            c
            for c in self._analysis.comparisons
            if (c.arm, c.question, c.measure) == (self._arm.name, question, measure)
        ]

    def _all_diverged(self) -> bool:
        """Whether nothing is left of either, even at its best."""
        best = self._analysis.best_learning_rates
        cells = {(c.arm, c.learning_rate): c for c in self._analysis.cells}
        both = [cells[name, best[name]] for name in self._names.values()]
        return all(cell.diverged == cell.n for cell in both)

    def _explained(self) -> dict[str, str]:
        """The arms' names, with their meaning where the language has a word of its own for it."""
        explained = {}
        for key, arm in (("arm", self._arm), ("other", self._other)):
            norm = f"norm {arm.settings.get('norm')}"
            explained[key] = self._say(norm, arm=arm.name) if norm in WORDS else arm.name
        return explained

    # --- final accuracy ---

    def _accuracy(self) -> Iterator[str]:
        """The final accuracy, each at its own best rate."""
        for c in self._found("own-best", "test-accuracy"):
            effect = c.effect
            yield self._say(
                f"accuracy {self._accuracy_kind(c)}",
                **self._explained(),
                value=signed(effect.value),
                interval=points(effect),
                confidence=self._say.percent(100 * self._study.design.confidence),
                n=effect.n,
                excluded=number(_farthest(c)),
                family=self._family(c),
                p=p_value(c.p_holm),
                seed=self._study.design.seeds[0],
                rates=self._rates(c),
            )

    def _accuracy_kind(self, comparison: Comparison) -> str:
        """Which sentence; one that excludes nothing of interest has to say so."""
        kind = _kind(comparison)
        if kind == "no-difference" and _farthest(comparison) > self._of_interest(comparison):
            return "too few"
        return kind

    def _of_interest(self, comparison: Comparison) -> float:
        """Points of difference that anybody would see: ten, or half of what there is to learn."""
        places = {
            (comparison.arm, comparison.learning_rate),
            (comparison.other, comparison.other_learning_rate),
        }
        cells = [c for c in self._analysis.cells if (c.arm, c.learning_rate) in places]
        best = max(cell.test_accuracy.value for cell in cells)
        learned = best - 100 / len(self._study.data.classes)
        return min(_MOST_OF_INTEREST, max(_LEAST_OF_INTEREST, learned / 2))

    def _edges(self) -> Iterator[str]:
        """Whose best rate is the first or the last that was tried, and did not diverge there."""
        at_edge = {}
        lost = {(c.arm, c.learning_rate) for c in self._analysis.cells if c.diverged == c.n}
        for arm in (self._arm, self._other):
            rates = self._study.design.rates_of(arm)
            best = self._analysis.best_learning_rates[arm.name]
            edges = {max(rates): "largest", min(rates): "smallest"} if len(rates) > 1 else {}
            if best in edges and (arm.name, best) not in lost:
                at_edge[arm.name] = best, edges[best]
        if len(at_edge) == 2:
            (one, edge), (other, other_edge) = at_edge.values()
            key = f"both {edge}" if edge == other_edge else "both ends"
            yield self._say(key, **self._names, rate=rate(one), other_rate=rate(other))
            return
        for name, (best, edge) in at_edge.items():
            yield self._say(edge, arm=name, rate=rate(best))

    def _rates(self, comparison: Comparison) -> str:
        """Which rates the two are compared at."""
        one, other = comparison.learning_rate, comparison.other_learning_rate
        if "learning_rate" in self._arm.settings:
            key = "rates are arms"
        elif len(self._study.design.learning_rates) == 1:
            key = "rates only one"
        else:
            key = "rates same" if one == other else "rates differ"
        return self._say(key, rate=rate(one), other_rate=rate(other))

    def _family(self, comparison: Comparison) -> int:
        """How many comparisons Holm's procedure sees at once."""
        kind = (comparison.question, comparison.measure)
        return sum((c.question, c.measure) == kind for c in self._analysis.comparisons)

    def _mcnemar(self) -> Iterator[str]:
        """Two single networks on the same rows."""
        for found in self._analysis.mcnemar:
            if found.arm == self._arm.name:
                yield self._mcnemar_sentence(found)

    def _mcnemar_sentence(self, found: McNemar) -> str:
        differ = found.p <= 1 - self._study.design.confidence
        p = p_value(found.p)
        return self._say(
            "mcnemar differ" if differ else "mcnemar alike",
            **self._names,
            rows=f"{found.difference.n:,}",
            only_arm=found.only_arm,
            only_other=found.only_other,
            p=p if p.startswith("<") else f"= {p}",
            value=signed(found.difference.value),
            interval=points(found.difference),
        )

    # --- speed ---

    def _speed(self) -> Iterator[str]:
        """The steps to the target, each at its own best rate."""
        for c in self._found("own-best", "steps-to-target"):
            yield self._say(
                f"steps {_steps_kind(c)}",
                **self._names,
                target=self._say.percent(self._analysis.target),
                **self._say.times(c),
                excluded=self._excluded(c),
                censored=self._censored(c),
                family=self._family(c),
                p=p_value(c.p_holm),
            )

    def _excluded(self, comparison: Comparison) -> str:
        """Which factors are; none where a run might have had any."""
        effect = comparison.effect
        if any(comparison.censored):
            return ""
        bound = max(effect.high, 1 / effect.low) if effect.low > 0 else math.inf
        if bound > _MOST_TIMES_OF_INTEREST:
            return self._say("excluded little", n=effect.n)
        return self._say("excluded", factor=factor(bound))

    def _censored(self, comparison: Comparison) -> str:
        """Who never reaches the target."""
        (ours, theirs), n = comparison.censored, comparison.effect.n
        if ours and theirs:
            return self._say("never both", **self._names, count=ours, other_count=theirs, n=n)
        if ours or theirs:
            name = self._names["arm" if ours else "other"]
            return self._say("never one", arm=name, count=ours or theirs, n=n)
        return ""

    # --- the rates ---

    def _carried(self) -> Iterator[str]:
        """Whether a difference at own best rates is one of the rates.

        It is the sum of two: arm against reference at the reference's best rate, and the arm at
        its own best rate against itself at the reference's.
        """
        for whole in self._found("own-best", "test-accuracy"):
            if whole.conclusion not in {"higher", "lower"}:
                return
            if whole.learning_rate == whole.other_learning_rate:
                yield self._say("carried same rate")
                return
            at_theirs = {c.learning_rate: c for c in self._found("equal-rate", whole.measure)}
            equal = at_theirs.get(whole.other_learning_rate)
            for moved in self._found("other-rate", whole.measure) if equal else ():
                assert equal is not None
                parts = self._parts(whole, equal, moved)
                yield self._say(f"carried {_carrier(whole, equal, moved)}", parts=parts)

    def _parts(self, whole: Comparison, equal: Comparison, moved: Comparison) -> str:
        return self._say(
            "parts",
            **self._names,
            rate=rate(whole.other_learning_rate),
            own_rate=rate(whole.learning_rate),
            whole=signed(whole.effect.value),
            equal=signed(equal.effect.value),
            equal_interval=points(equal.effect),
            moved=signed(moved.effect.value),
            moved_interval=points(moved.effect),
        )

    def _at_equal_rates(self) -> Iterator[str]:
        """What one sees who compares at equal rates only."""
        accuracy = self._found("equal-rate", "test-accuracy")
        if not accuracy:
            yield self._say("no common rate", **self._names)
        if not accuracy or accuracy[0].effect.n < 2:
            return
        yield self._by_conclusion("equal accuracy", accuracy)
        if steps := self._found("equal-rate", "steps-to-target"):
            yield self._by_conclusion("equal steps", steps)
        found = any(c.conclusion in {"higher", "lower"} for c in accuracy)
        (own,) = self._found("own-best", "test-accuracy")
        if found and own.conclusion == "no-difference":
            yield self._say("gone at own best")

    def _by_conclusion(self, key: str, comparisons: Sequence[Comparison]) -> str:
        """The rates at which each conclusion holds, with the effect where there is one."""
        parts = []
        for conclusion in ("higher", "lower", "no-difference", "undecided"):
            held = [c for c in comparisons if c.conclusion == conclusion]
            if held:
                listed = self._say.listed([self._at_a_rate(key, c) for c in held])
                parts.append(self._say(f"{key} {conclusion}", listed=listed))
        return self._say(key, **self._names, found=self._say("semicolon").join(parts))

    def _at_a_rate(self, key: str, comparison: Comparison) -> str:
        at = rate(comparison.learning_rate)
        if comparison.conclusion == "undecided":
            return at
        kind = "not by Holm" if _kind(comparison) == "not by Holm" else "one"
        value, p = signed(comparison.effect.value), p_value(comparison.p_holm)
        how = self._say.times(comparison)
        if comparison.measure == "test-accuracy":
            how["interval"] = points(comparison.effect)
        return self._say(f"{key} {kind}", rate=at, value=value, p=p, **how)


def _kind(comparison: Comparison) -> str:
    """Which sentence its conclusion asks for."""
    effect, nothing = comparison.effect, 0 if comparison.measure == "test-accuracy" else 1
    if comparison.conclusion != "no-difference":
        return comparison.conclusion
    if effect.low > nothing or effect.high < nothing:
        return "not by Holm"
    return "identical" if effect.low == effect.high == nothing else "no-difference"


def _farthest(comparison: Comparison) -> float:
    """The end of the interval that is farther from 0."""
    return max(abs(comparison.effect.low), abs(comparison.effect.high))


def _steps_kind(comparison: Comparison) -> str:
    """The same for speed, where one may also never arrive."""
    if comparison.censored == (comparison.effect.n, comparison.effect.n):
        return "never"
    if comparison.conclusion == "undecided":
        return "one seed" if comparison.effect.n < 2 else "unknown"
    return _kind(comparison).replace("identical", "no-difference")


def _carrier(whole: Comparison, equal: Comparison, moved: Comparison) -> str:
    """Which of the two parts of a difference is one by itself."""
    by_equal = equal.conclusion == whole.conclusion
    by_rate = moved.conclusion == whole.conclusion
    if by_equal:
        return "by both" if by_rate else "by equal"
    return "by rate" if by_rate else "unknown"
