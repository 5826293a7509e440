"""A user's own function, named as ``package.module:function``: imported, and called."""

import difflib
import importlib
import operator
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from normscope._errors import InputError

Function = Callable[..., Any]

_HERE = str(Path(__file__).parent)

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def names_a_function(text: str) -> bool:
    """Whether `text` has the form ``package.module:function``.

    Example:
        >>> names_a_function("mine.models:build"), names_a_function("mine/models.py")
        (True, False)
    """
    return _NAME.fullmatch(text) is not None


def imported(name: str, *, error: type[InputError]) -> Function:
    """The function that `name` stands for.

    Modules are looked for as ``python -m`` does: in the current folder first. It stays on
    `sys.path`, since a function may import more when it is called.

    Args:
        name: ``package.module:function``.
        error: what is raised where something is wrong.

    Raises:
        InputError: of the type `error`, in one sentence: if there is no such module or function,
            if the module fails while it is imported, or what is named cannot be called.

    Example:
        >>> imported("math:sqrt", error=InputError)(9)
        3.0
        >>> imported("builtins:lenn", error=InputError)
        Traceback (most recent call last):
        ...
        normscope._errors.InputError: builtins:lenn: the module builtins has no lenn; ...
    """
    function = named(name, error=error)
    if not callable(function):
        msg = (
            f"{name} cannot be called: it is of type {type(function).__name__}. Name a function "
            "that returns what you want."
        )
        raise error(msg)
    return function


def named(name: str, *, error: type[InputError]) -> object:
    """What `name` stands for, whether it can be called or not: see `imported`.

    Raises:
        InputError: of the type `error`, in one sentence: if there is no such module or attribute,
            or the module fails while it is imported.
    """
    path, _, attribute = name.partition(":")
    module = _module(path, name, error)
    try:
        return operator.attrgetter(attribute)(module)
    except AttributeError:
        near = difflib.get_close_matches(attribute, vars(module), n=1)
        hint = f"did you mean {near[0]}?" if near else "is it defined under another name?"
        msg = f"{name}: the module {_shown(module)} has no {attribute}; {hint}"
        raise error(msg) from None


def called(
    function: Function, arguments: Mapping[str, Any], *, name: str, error: type[InputError]
) -> Any:
    """What the function that is called `name` returns.

    Raises:
        InputError: of the type `error`, in one sentence with the call, the place and what it
            raised.

    Example:
        >>> called(dict, {"depth": 3}, name="builtins:dict", error=InputError)
        {'depth': 3}
    """
    try:
        return function(**arguments)
    except (Exception, SystemExit) as problem:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        msg = f"{name}({given}) raised {told(problem, function)}."
        raise error(msg) from problem


def told(problem: BaseException, function: object = None) -> str:
    """An exception of somebody's code, on one line: its type, its message, and where it arose.

    The place is the user's own line and not one deep inside a library: the last one in the file
    that `function` is from, or else in any file that is not installed.

    Example:
        >>> told(ValueError("no width"))
        'ValueError: no width'
    """
    message = " ".join(str(problem).split())[:300].rstrip(".")
    file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None) or ""
    if file.startswith(_HERE):  # a function of ours that called somebody's
        file = ""
    passed = traceback.extract_tb(problem.__traceback__) if function else []
    lines = [f for f in passed if f.filename == file] or [f for f in passed if _is_own(f.filename)]
    where = f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""
    return f"{type(problem).__name__}: {message}{where}" if message else type(problem).__name__


def _is_own(file: str) -> bool:
    """Whether a file is a user's: neither Normscope's, nor installed, nor Python's."""
    paths = sysconfig.get_paths()
    installed = (_HERE, paths["purelib"], paths["platlib"], paths["stdlib"])
    return Path(file).is_file() and not file.startswith(installed)


def _module(path: str, name: str, error: type[InputError]) -> ModuleType:
    """Import the module at a dotted path.

    Raises:
        InputError: of the type `error`, if it is not there or fails.
    """
    here = str(Path.cwd())
    if here not in map(os.path.abspath, sys.path):
        sys.path.insert(0, here)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit) as problem:
        missing = problem.name if isinstance(problem, ModuleNotFoundError) else None
        if missing and f"{path}.".startswith(f"{missing}."):
            msg = (
                f"{name}: there is no module {missing}, neither in this folder ({here}) nor among "
                "the installed packages. Go to the folder that holds it, or put that on PYTHONPATH."
            )
            raise error(msg) from None
        msg = f"{name}: importing {path} raised {told(problem)}."
        raise error(msg) from problem


def _shown(module: ModuleType) -> str:
    """A module by its name, and its file where it has one."""
    file = getattr(module, "__file__", None)
    return f"{module.__name__} ({file})" if file else module.__name__
