"""The article's learning rate: constant, then linear to 0 (spec S8)."""

from normscope.records import Recipe


def learning_rate(recipe: Recipe, epoch: int) -> float:
    r"""Adam's step during `epoch`, counted from 1.

    .. math:: \eta_e = \eta \cdot \min(1, (E - (e - 1)) / (E - c))

    with :math:`E` epochs of which :math:`c` are constant: after epoch :math:`e \ge c` the article
    sets :math:`\eta (E - e) / (E - c)`, which reaches 0 after the last. A run of at most `c` epochs
    keeps its rate throughout.

    Example:
        >>> [round(learning_rate(Recipe(), epoch), 6) for epoch in (1, 16, 17, 100)]
        [0.02, 0.02, 0.019765, 0.000235]
    """
    done = epoch - 1
    if done <= recipe.constant_epochs:
        return recipe.learning_rate
    share = (recipe.epochs - done) / (recipe.epochs - recipe.constant_epochs)
    return recipe.learning_rate * share
