"""Mean and variance over any axes, in a form that merges without losing digits."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from normscope._errors import InputError, IntegerTensorError
from normscope._shapes import AnyFloats


def moments(
    x: Tensor,
    axes: Sequence[int],
    keepdims: bool = False,  # noqa: FBT001, FBT002 - as NumPy spells it
) -> tuple[Tensor, Tensor]:
    r"""Mean and population variance of `x` over a list of axes.

    .. math:: \mathrm{mean} = \frac{1}{n} \sum_i x_i, \qquad
              \mathrm{variance} = \frac{1}{n} \sum_i (x_i - \mathrm{mean})^2

    The variance is divided by n, as in Ioffe & Szegedy 2015 (arXiv 1502.03167), Algorithm 1. It is
    never formed as E[x²] − E[x]², so data with a mean of 1e4 and a deviation of 1 keep their
    variance in float32. Half precision is computed in float32 and rounded once, at the end.
    Differentiable. A NaN or an infinity makes the variance that it enters NaN.

    Args:
        x: A tensor of real floating-point numbers.
        axes: What to average over: `[0]` for `[batch, features]`, `[0, 1, 2]` for
            `[batch, height, width, channels]`. Negative axes count from the end.
        keepdims: Whether the averaged axes stay, with length 1.

    Returns:
        The mean and the population variance, in the dtype of `x`.

    Raises:
        InputError: If the axes are none, repeated or not there, or `x` has no elements.
        IntegerTensorError: If `x` holds integers, Booleans or complex numbers.

    >>> x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    >>> moments(x, [0])
    (tensor([ 2., 20.]), tensor([  1., 100.]))
    >>> moments(x, [0, 1], keepdims=True)
    (tensor([[11.]]), tensor([[131.5000]]))
    """
    if not x.is_floating_point():
        msg = (
            f"moments need real floating-point numbers, and {x.dtype} cannot hold a mean. "
            "Convert the tensor first: x.float(), or x.double()"
        )
        raise IntegerTensorError(msg)
    if problem := _problem_of(axes, x.shape):
        raise InputError(problem)
    variance, mean = torch.var_mean(_widened(x), list(axes), correction=0, keepdim=keepdims)
    return mean.to(x.dtype), variance.to(x.dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    r"""Count, mean and sum of squared deviations of a sample: all that merging needs.

    Half precision is held in float32, because a sum of squares soon exceeds what float16 can hold.

    >>> sample = Moments.of(torch.tensor([[1.0, 10.0], [3.0, 30.0]]), [0])
    >>> sample.population_variance, sample.bessel_variance
    (tensor([  1., 100.]), tensor([  2., 200.]))
    """

    count: int
    """n, how many values every entry of `mean` is the mean of."""
    mean: AnyFloats
    """Their mean, 0 if there are none."""
    m2: AnyFloats
    """The sum of squared deviations from the mean, n times the population variance."""

    @classmethod
    def of(cls, x: Tensor, axes: Sequence[int]) -> "Moments":
        """The moments of a tensor over a list of axes; refuses what `moments` refuses."""
        mean, population_variance = moments(_widened(x), axes)
        count = math.prod(x.shape[axis] for axis in axes)
        return cls(count, mean, population_variance * count)

    @classmethod
    def of_columns(cls, x: Float[Tensor, "rows columns"]) -> "Moments":
        """The moments of every column of a matrix, held in float64.

        By the kernel of batch norm, which takes a fraction of the time of `of` on the CPU. It adds
        up in the dtype of `x`: right to that dtype's rounding for some hundred rows, not for
        hundreds of thousands. Split those, and merge.

        Raises:
            InputError: If there are no rows.

        >>> Moments.of_columns(torch.tensor([[1.0, 10.0], [3.0, 30.0]])).population_variance
        tensor([  1., 100.], dtype=torch.float64)
        """
        if problem := _problem_of([0], x.shape):
            raise InputError(problem)
        mean, population_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        return cls(len(x), mean.double(), population_variance.double() * len(x))

    @classmethod
    def empty_like(cls, mean: AnyFloats) -> "Moments":
        """The moments of no values at all, from which an accumulation may start.

        >>> Moments.empty_like(torch.zeros(2)).count
        0
        """
        return cls(0, torch.zeros_like(mean), torch.zeros_like(mean))

    @property
    def population_variance(self) -> AnyFloats:
        """The variance of these values themselves: divided by n.

        Raises:
            InputError: If there are no values.
        """
        if self.count < 1:
            msg = "no values have no variance; take moments of at least one"
            raise InputError(msg)
        return self.m2 / self.count

    @property
    def bessel_variance(self) -> AnyFloats:
        """The unbiased estimate for what the values were drawn from: divided by n − 1.

        Raises:
            InputError: If there are fewer than two values.
        """
        if self.count < 2:
            msg = f"a Bessel-corrected variance needs two values or more; there are {self.count}"
            raise InputError(msg)
        return self.m2 / (self.count - 1)


def merge(a: Moments, b: Moments) -> Moments:
    r"""Combine the moments of two disjoint samples, as if they had been one.

    .. math:: \bar x = \bar x_a + (\bar x_b - \bar x_a) \, \frac{n_b}{n}, \qquad
              M_2 = M_2^a + M_2^b + (\bar x_b - \bar x_a)^2 \, \frac{n_a n_b}{n}

    Chan, Golub & LeVeque 1979 (Stanford report STAN-CS-79-773). Exact up to rounding; unlike
    E[x²] − E[x]² it survives a mean of 1e4 in float32. An empty sample changes nothing.

    Raises:
        InputError: If the two are not of the same shape.

    >>> halves = Moments.of(torch.tensor([1.0, 2.0]), [0]), Moments.of(torch.tensor([6.0]), [0])
    >>> whole = merge(*halves)
    >>> whole.count, whole.mean, whole.m2
    (3, tensor(3.), tensor(14.))
    """
    if a.mean.shape != b.mean.shape:
        msg = (
            f"moments of shapes {list(a.mean.shape)} and {list(b.mean.shape)} cannot be merged; "
            "take both over the same axes"
        )
        raise InputError(msg)
    if a.count == 0 or b.count == 0:
        return b if a.count == 0 else a
    count = a.count + b.count
    apart = b.mean - a.mean
    mean = a.mean + apart * (b.count / count)
    m2 = a.m2 + b.m2 + apart.square() * (a.count / count * b.count)
    return Moments(count, mean, m2)


def merge_all(samples: Iterable[Moments]) -> Moments:
    """Combine the moments of any number of disjoint samples, one after the other.

    Raises:
        InputError: If there is none, or their shapes differ.

    >>> merge_all(Moments.of(torch.full((n,), float(n)), [0]) for n in (1, 2, 3)).mean
    tensor(2.3333)
    """
    samples = iter(samples)
    try:
        first = next(samples)
    except StopIteration:
        msg = "there are no moments to merge; pass those of at least one sample"
        raise InputError(msg) from None
    return functools.reduce(merge, samples, first)


def _widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype in {torch.float16, torch.bfloat16} else x


def _problem_of(axes: Sequence[int], shape: Sequence[int]) -> str | None:
    """Why the axes of this shape cannot be averaged over, if they cannot."""
    words = f"axes {list(axes)} of shape {list(shape)}"
    if not axes:
        return f"no axis of shape {list(shape)} was named; to average over all, name them all"
    if any(not -len(shape) <= axis < len(shape) for axis in axes):
        return f"{words} are not all there: the first is 0 and the last {len(shape) - 1}"
    if len({axis % len(shape) for axis in axes}) < len(axes):
        return f"{words} name one of them twice"
    if 0 in shape:
        return f"{words} hold no elements, so they have no mean"
    return None
