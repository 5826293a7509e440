"""Which probes somebody asks for: by name, or objects of their own."""

from collections.abc import Sequence
from difflib import get_close_matches

from normscope._errors import InputError
from normscope.probes._all import ALL
from normscope.probes._moment import Probe


def chosen(probes: Sequence[str | Probe] | str) -> list[Probe]:
    """The probes that are meant, each once.

    Args:
        probes: names, ``"all"``, or objects with a `Probe`'s attributes.

    Raises:
        InputError: if there is no such probe, or an object is none.
    """
    wanted = [probes] if isinstance(probes, str) else list(probes)
    named = [name for word in wanted for name in (ALL if word == "all" else [word])]
    made = [_named(each) if isinstance(each, str) else _seen(each) for each in named]
    return list({probe.name: probe for probe in made}.values())


def intervals(probes: Sequence[Probe], every: int | None) -> list[tuple[Probe, int]]:
    """Each probe, and how many steps lie between two of its readings.

    Args:
        probes: any.
        every: for all of them; None for each one's own.

    Raises:
        InputError: if it is no number of steps.
    """
    if every is not None and (not isinstance(every, int) or every < 1):
        msg = f"every is {every!r}; give a number of steps, 1 or more, or none for each one's own."
        raise InputError(msg)
    return [(probe, every or probe.every) for probe in probes]


def _named(name: str) -> Probe:
    """A probe of ours.

    Raises:
        InputError: if there is none of this name.
    """
    if name not in ALL:
        near = get_close_matches(name, ALL, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([*ALL, 'all'])}."
        msg = f"There is no probe {name!r}; {hint}"
        raise InputError(msg)
    return ALL[name]()


def _seen(probe: object) -> Probe:
    """A probe of somebody's own.

    Raises:
        InputError: if it is none.
    """
    if isinstance(probe, type):
        msg = f"{probe.__name__} is a class; give an object of it, {probe.__name__}()."
        raise InputError(msg)
    lacking = [name for name in ("name", "every", "needs_loss", "read") if not hasattr(probe, name)]
    if lacking:
        msg = f"A probe of type {type(probe).__name__} lacks {', '.join(lacking)}."
        raise InputError(msg)
    assert not isinstance(probe, str)
    return probe  # type: ignore[return-value]
