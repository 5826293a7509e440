"""Which layers of a model somebody means."""

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from torch import nn

from normscope._errors import InputError
from normscope.anatomy import plain_path


def chosen(
    model: nn.Module, paths: Collection[str], modules: str | Iterable[str] | None
) -> list[str]:
    """Those of `paths` that `modules` names, in their order.

    Args:
        model: perhaps wrapped (DDP, `torch.compile`); paths are meant as in what is inside.
        paths: of the layers that there are to choose from.
        modules: paths of layers, or of modules around them, or patterns; None for all.

    Raises:
        InputError: if a name matches nothing.

    Example:
        >>> model = nn.Sequential(nn.Sequential(nn.BatchNorm1d(2)), nn.BatchNorm1d(2))
        >>> chosen(model, ["0.0", "1"], "0"), chosen(model, ["0.0", "1"], ["*.0", "1"])
        (['0.0'], ['0.0', '1'])
    """
    if modules is None:
        return list(paths)
    plain = {path: plain_path(model, path) for path in paths}
    found: set[str] = set()
    for pattern in [modules] if isinstance(modules, str) else modules:
        hits = {p for p in paths if _matches(pattern, plain[p]) or _matches(pattern, p)}
        if not hits:
            some = ", ".join(map(repr, list(plain.values())[:5])) + ", …" * (len(plain) > 5)
            msg = (
                f"{pattern!r} is the path of none of the layers in question, nor of a module "
                f"around one: {some or 'there is none'}."
            )
            raise InputError(msg)
        found |= hits
    return [path for path in paths if path in found]


def _matches(pattern: str, path: str) -> bool:
    return path == pattern or path.startswith(f"{pattern}.") or fnmatchcase(path, pattern)
