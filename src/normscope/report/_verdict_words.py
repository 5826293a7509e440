"""The sentences of a verdict: `verdict.toml` has them in English and in Chinese, side by side."""

import re
import tomllib
from importlib import resources

from normscope.records import Comparison, Estimate
from normscope.report._numbers import number, significant
from normscope.report._words import Words

_FULL_WIDTH = "（），。；：、"
_NEEDLESS_SPACE = re.compile(
    rf"(?<=[{_FULL_WIDTH}]) +| +(?=[{_FULL_WIDTH}])|(?<=[\u4e00-\u9fff]) +(?=[\u4e00-\u9fff])"
)


class Say(Words):
    """The sentences in one language, and figures as they stand in them.

    Example:
        >>> Say("en")("seeds", seeds="0–4"), Say("zh")("seeds", seeds="0–4")
        ('seeds 0–4', '种子 0–4')
    """

    def __call__(self, key: str, **values: object) -> str:
        """The words for `key`, with `values` in their places; Chinese without needless spaces.

        Raises:
            KeyError: if there are no such words.
        """
        english, chinese = WORDS[key]
        if self.language == "en":
            return english.format(**values)
        return _NEEDLESS_SPACE.sub("", chinese.format(**values))

    def percent(self, value: float) -> str:
        """A percentage, without zeros that a round one does not need.

        Example:
            >>> Say("en").percent(95.0), Say("zh").percent(91.25)
            ('95 %', '91.25%')
        """
        return number(value).rstrip("0").rstrip(".") + self("percent sign")

    def times(self, comparison: Comparison) -> dict[str, str]:
        """How many times the steps, and its interval: `bound`, `factor` and `interval`.

        Where runs of one side alone never reach the target, the factor is a bound, and the
        interval has one end.
        """
        (ours, theirs), effect = comparison.censored, comparison.effect
        bound = "" if bool(ours) == bool(theirs) else " at least" if ours else " at most"
        interval = self(f"interval{bound}", low=factor(effect.low), high=factor(effect.high))
        return {
            "bound": self(f"bound{bound}"),
            "factor": factor(effect.value),
            "interval": interval if effect.n > 1 else "",
        }


def points(estimate: Estimate) -> str:
    """An interval of percentage points.

    Example:
        >>> points(Estimate(value=0.4, low=-0.21, high=1.0, n=5))
        '[−0.21, 1.00]'
    """
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def factor(value: float) -> str:
    """A ratio of steps.

    Example:
        >>> factor(0.4567), factor(12.34), factor(0.01234)
        ('0.46', '12.3', '0.0123')
    """
    return number(value) if 0.1 <= value < 10 else significant(value)


def _catalogue() -> dict[str, tuple[str, str]]:
    text = (resources.files("normscope.report") / "verdict.toml").read_text(encoding="utf-8")
    return {key: (english, chinese) for key, (english, chinese) in tomllib.loads(text).items()}


WORDS = _catalogue()
"""The English and the Chinese of every sentence."""
