"""JAX: all steps of a turn in one jitted ``lax.scan``, Adam written out, buffers donated."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from benchmarks.steps.task import LEARNING_RATE, Task
from benchmarks.worker import Pace

EPS, DECAY, BETA1, BETA2 = 1e-5, 0.99, 0.9, 0.999
Tree = Any


def run(pace: Pace, **job: Any) -> None:
    """Compile both lengths of scan, then take turns."""
    task = Task(**job)
    images, labels = map(jnp.asarray, task.data())
    state = fresh(task)
    batches = task.batches()

    def steps(count: int) -> None:
        nonlocal state
        rows = np.stack([next(batches) for _ in range(count)]).astype(np.int32)
        state, _ = jax.block_until_ready(scan(state, images, labels, rows))

    lengths = (task.unmeasured, task.measured)
    for count in lengths:
        steps(count)
    pace()
    while True:
        for count in lengths:
            steps(count)
            pace(count)


def fresh(task: Task) -> Tree:
    """Parameters, Adam's two moments, running statistics, and the number of steps."""
    parameters = []
    averages = []
    for weight in task.weights():
        zeros, ones = jnp.zeros(weight.shape[1]), jnp.ones(weight.shape[1])
        scale = {"gamma": ones} if task.normalized else {}
        parameters.append({"weight": jnp.asarray(weight), "beta": zeros, **scale})
        averages.append({"mean": zeros, "variance": ones})
    first, second = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    state = parameters, first, second, averages, jnp.zeros(())
    return jax.tree.map(jnp.copy, state)  # a buffer can be donated only once


@partial(jax.jit, donate_argnums=0)
def scan(state: Tree, images: jax.Array, labels: jax.Array, batches: jax.Array) -> Tree:
    """One step for each of `batches`, rows of row numbers; the state, and the losses."""

    def step(state: Tree, rows: jax.Array) -> Tree:
        parameters, first, second, averages, count = state
        by = jax.value_and_grad(loss, has_aux=True)
        (value, averages), gradients = by(parameters, averages, images[rows], labels[rows])
        count += 1
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradients)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradients)
        rate = LEARNING_RATE / (1 - BETA1**count)
        correction = jnp.sqrt(1 - BETA2**count)
        parameters = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) / correction + 1e-8),
            *(parameters, first, second),
        )
        return (parameters, first, second, averages, count), value

    return lax.scan(step, state, batches)


def loss(parameters: Tree, averages: Tree, x: jax.Array, y: jax.Array) -> Tree:
    """Mean cross-entropy, and the running statistics after this batch."""
    tracked: list[Tree] = []
    for index, (layer, average) in enumerate(zip(parameters, averages, strict=True)):
        s = x @ layer["weight"]
        if "gamma" in layer:
            mean, variance = s.mean(0), s.var(0)
            s = layer["gamma"] * (s - mean) * lax.rsqrt(variance + EPS)
            now = {"mean": mean, "variance": variance}
            tracked.append(jax.tree.map(lambda a, b: DECAY * a + (1 - DECAY) * b, average, now))
        s += layer["beta"]
        x = jax.nn.relu(s) if index < len(parameters) - 1 else s
    log_probabilities = jax.nn.log_softmax(x)
    return -jnp.take_along_axis(log_probabilities, y[:, None], 1).mean(), tracked or averages
