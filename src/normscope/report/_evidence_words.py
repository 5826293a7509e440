"""What a record of evidence says, in the page's language: `evidence.toml` has the Chinese of it."""

import re
import tomllib
from importlib import resources

from normscope.report._parts import Said
from normscope.report._words import Words

_NAME = re.compile(r"\\{(\w+)\\}")


def told(text: str, say: Words) -> Said:
    """A sentence or a name from a record; in English, and marked so, where there is no other.

    Example:
        >>> told("weight norm", Words("zh")), told("my own arm", Words("zh"))
        (Said(text='权重归一化', english=False), Said(text='my own arm', english=True))
        >>> told("left out: layer norm, my own arm", Words("zh")).text
        '未训练：层归一化、my own arm'
    """
    if say.language == "en":
        return Said(text)
    if text in CHINESE:
        return Said(CHINESE[text])
    for pattern, chinese in _PATTERNS:
        if found := pattern.fullmatch(text):
            return Said(chinese.format(**{k: _each(v) for k, v in found.groupdict().items()}))
    return Said(text, english=bool(re.search(r"[a-z]{3} [a-z]", text)))


def _each(text: str) -> str:
    """Names with commas between them, each in Chinese; some names have a comma of their own."""
    names, words = list[str](), text.split(", ")
    while words:
        taken = max((n for n in (3, 2) if ", ".join(words[:n]) in CHINESE), default=1)
        name, words = ", ".join(words[:taken]), words[taken:]
        names.append(CHINESE.get(name, name))
    return "、".join(names)


def _catalogue() -> dict[str, str]:
    text = (resources.files("normscope.report") / "evidence.toml").read_text(encoding="utf-8")
    return {english: str(chinese) for english, chinese in tomllib.loads(text).items()}


CHINESE = _catalogue()
"""By the English."""

_PATTERNS = [
    (re.compile(_NAME.sub(r"(?P<\1>.+)", re.escape(english))), chinese)
    for english, chinese in CHINESE.items()
    if "{" in english
]
