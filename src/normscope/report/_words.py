"""Every word on a page, in English and in Chinese: `words.toml` has them side by side."""

import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Literal

from normscope.report._numbers import number

_PERCENT = ("{} %", "{}%")


class Words:
    """The catalogue in one language.

    Example:
        >>> Words("en")("layer n", number=2), Words("zh")("layer n", number=2)
        ('layer 2', '第 2 层')
    """

    def __init__(self, language: Literal["en", "zh"]) -> None:
        self.language: Literal["en", "zh"] = language
        self._place = ("en", "zh").index(language)

    def __call__(self, key: str, **values: object) -> str:
        """The words for `key`, with `values` in their places.

        Raises:
            KeyError: if the catalogue has no such words.
        """
        return CATALOGUE[key][self._place].format(**values)

    def percentage(self, value: float, digits: int = 2) -> str:
        """A percentage; Chinese writes no space before the sign.

        Example:
            >>> Words("en").percentage(91.4), Words("zh").percentage(91.4)
            ('91.40 %', '91.40%')
        """
        return _PERCENT[self._place].format(number(value, digits))

    def share(self, value: float) -> str:
        """A share of 1, such as a confidence, in percent and with no needless zeros.

        Example:
            >>> Words("en").share(0.95), Words("zh").share(0.999)
            ('95 %', '99.9%')
        """
        return _PERCENT[self._place].format(f"{100 * value:g}")

    def listed(self, names: Sequence[str]) -> str:
        """Names as a list in a sentence.

        Example:
            >>> Words("en").listed(["a", "b", "c"]), Words("zh").listed(["a", "b", "c"])
            ('a, b and c', 'a、b 与 c')
        """
        comma, last = ((", ", " and "), ("、", " 与 "))[self._place]
        return last.join([comma.join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _catalogue() -> dict[str, tuple[str, str]]:
    text = (resources.files("normscope.report") / "words.toml").read_text(encoding="utf-8")
    return {key: (english, chinese) for key, (english, chinese) in tomllib.loads(text).items()}


CATALOGUE = _catalogue()
"""The English and the Chinese of every key."""
