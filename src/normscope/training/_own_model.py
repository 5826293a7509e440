"""A network that a user's own function builds."""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from normscope._errors import NormscopeError, OwnModelError, RecipeError
from normscope._factories import Function, called, imported, told
from normscope.anatomy import modes_preserved, preserved
from normscope.records import DataRecord, Recipe
from normscope.training._memory import is_out_of_memory

_TRIED_ROWS = 2


@contextmanager
def own_model_errors(recipe: Recipe) -> Iterator[None]:
    """Turn what a network of somebody's own raises inside the block into one sentence.

    Errors of ours, and memory that is not there, stay what they are, and so does everything where
    the recipe's network is the built-in one.

    Raises:
        OwnModelError: naming the recipe's function, what was raised, and where.
    """
    try:
        yield
    except Exception as problem:
        if recipe.model is None or isinstance(problem, NormscopeError) or is_out_of_memory(problem):
            raise
        msg = f"{recipe.model}: its network raised {told(problem, own_function(recipe))}."
        raise OwnModelError(msg) from problem


def build_own_network(recipe: Recipe, *, shape: tuple[int, ...], classes: int) -> nn.Module:
    """What the function that the recipe calls its model returns, on the CPU.

    It is called inside a random state of torch that follows from the recipe's seed, and which is
    put back: equal seeds give equal first weights. Then it is tried on two rows of zeros, so that
    what cannot work is said before anything is written.

    Args:
        recipe: with a model.
        shape: of one row of the inputs.
        classes: how many columns the logits must have.

    Raises:
        RecipeError: if the function cannot be imported or called, raises, or returns something
            that is no network for such rows.
    """
    function = own_function(recipe)
    arguments = _arguments(function, recipe, shape, classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        network = called(function, arguments, name=str(recipe.model), error=RecipeError)
        if not isinstance(network, nn.Module):
            msg = (
                f"{recipe.model} returned something of type {type(network).__name__}; it has to "
                "return a torch.nn.Module."
            )
            raise RecipeError(msg)
        network = network.cpu()
        # The first try may make parameters, of lazy modules; the second leaves nothing behind.
        with modes_preserved(network):
            _try(network.eval(), function, recipe, shape, classes)
        with preserved(network):
            _try(network.train(), function, recipe, shape, classes)
    _refuse_what_cannot_be_trained(network, recipe)
    return network


def refuse_what_cannot_be_built(recipes: Iterable[Recipe], data: DataRecord) -> None:
    """Build each model of somebody's own once, for one of its seeds, and let go of it.

    Raises:
        RecipeError: naming what is wrong with the first that fails.
    """
    tried = set()
    for recipe in recipes:
        model = (recipe.model, recipe.norm, frozenset(recipe.model_options.items()))
        if recipe.model is not None and model not in tried:
            build_own_network(recipe, shape=data.image_size, classes=len(data.classes))
        tried.add(model)


def own_function(recipe: Recipe) -> Function:
    """The function that the recipe calls its model.

    Raises:
        RecipeError: if it cannot be imported, or is a network already.
    """
    with torch.random.fork_rng(devices=[]):  # a module may draw while it is imported
        function = imported(str(recipe.model), error=RecipeError)
    if isinstance(function, nn.Module):
        msg = (
            f"{recipe.model} is a network already; name a function that builds one, so that every "
            "seed gets first weights of its own."
        )
        raise RecipeError(msg)
    return function


def refuse_wrong_arguments(recipe: Recipe, *, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a recipe whose model's function cannot be called; it is not called for that.

    Raises:
        RecipeError: naming what is missing, or too much.
    """
    _arguments(own_function(recipe), recipe, shape, classes)


def _arguments(
    function: Function, recipe: Recipe, shape: tuple[int, ...], classes: int
) -> dict[str, Any]:
    """What the function is called with: the recipe's options, and what else it asks for by name.

    Raises:
        RecipeError: if it takes no such option, misses one, or does not know of a norm that the
            recipe sets.
    """
    offered: dict[str, Any] = {
        "norm": recipe.norm,
        "seed": recipe.seed,
        "classes": classes,
        "inputs": math.prod(shape),
        "input_shape": tuple(shape),
    }
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return dict(recipe.model_options)
    by_name = _named_parameters(signature)
    arguments = {n: v for n, v in offered.items() if n in by_name} | recipe.model_options
    try:
        signature.bind(**arguments)
    except TypeError as problem:
        msg = (
            f"{recipe.model} takes ({', '.join(by_name)}), and cannot be called with "
            f"({_listed(arguments)}): {problem}. Options come from model_options; "
            f"{', '.join(offered)} are given to who names them."
        )
        raise RecipeError(msg) from None
    if recipe.norm != Recipe.model_fields["norm"].default and "norm" not in arguments:
        msg = (
            f"norm is {recipe.norm}, but {recipe.model} has no parameter of that name, so it would "
            "change nothing. Add one to the function."
        )
        raise RecipeError(msg)
    return arguments


def _named_parameters(signature: inspect.Signature) -> list[str]:
    """The parameters that can be given by name."""
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return [p.name for p in signature.parameters.values() if p.kind in kinds]


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _try(
    network: nn.Module, function: Function, recipe: Recipe, shape: tuple[int, ...], classes: int
) -> None:
    """Give the network two rows of zeros.

    Raises:
        RecipeError: if it raises, or what it returns are no logits.
    """
    mode = "training" if network.training else "eval"
    rows = [_TRIED_ROWS, *shape]
    try:
        with torch.no_grad():
            logits: object = network(torch.zeros(rows))
    except Exception as problem:
        msg = (
            f"{recipe.model}: in {mode} mode its network cannot take inputs of shape {rows}; it "
            f"raised {told(problem, function)}."
        )
        raise RecipeError(msg) from problem
    wanted, seen = [_TRIED_ROWS, classes], f"type {type(logits).__name__}"
    if isinstance(logits, Tensor):
        seen = f"shape {list(logits.shape)}"
    if seen != f"shape {wanted}":
        msg = (
            f"{recipe.model}: in {mode} mode its network turns inputs of shape {rows} into "
            f"something of {seen}; it has to return logits of shape {wanted}, a column for each "
            f"of the {classes} classes."
        )
        raise RecipeError(msg)


def _refuse_what_cannot_be_trained(network: nn.Module, recipe: Recipe) -> None:
    """Refuse a network without parameters, or with a state that no checkpoint can hold.

    Raises:
        RecipeError: naming what is wrong.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        msg = f"{recipe.model}: its network has no parameter that could be trained."
        raise RecipeError(msg)
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            msg = (
                f"{recipe.model}: {name} in its network's state dict is of type "
                f"{type(value).__name__}; a checkpoint holds nothing but tensors."
            )
            raise RecipeError(msg)
