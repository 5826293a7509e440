"""TensorFlow: the article's own script, its step in one ``tf.function``.

Dense products, ``tf.nn.moments`` and ``tf.nn.batch_normalization``, moving averages, TensorFlow 1's
Adam, which is one native kernel for each variable; the rows of a batch are gathered in the graph.
"""

import os
from typing import Any

import tensorflow as tf

from benchmarks.steps.task import LEARNING_RATE, Task
from benchmarks.worker import Pace

EPS, DECAY = 1e-10, 0.99


def set_threads() -> None:
    """As many as the contest allows."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def run(pace: Pace, **job: Any) -> None:
    """Trace at the first step, which nobody times."""
    set_threads()
    task = Task(**job)
    images, labels = map(tf.constant, task.data())
    layers = [Layer(weight, normalized=task.normalized) for weight in task.weights()]
    variables = [variable for layer in layers for variable in layer.trained]
    adam = tf.compat.v1.train.AdamOptimizer(LEARNING_RATE)

    @tf.function
    def step(rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            h = tf.gather(images, rows)
            for layer in layers[:-1]:
                h = tf.nn.relu(layer(h))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.gather(labels, rows), logits=layers[-1](h)
            )
            loss = tf.reduce_mean(losses)
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    for rows in task.batches():
        step(tf.constant(rows)).numpy()
        pace()


class Layer:
    """``s3 = batchnorm(x W)``, or ``x W + b``."""

    def __init__(self, weight: Any, *, normalized: bool) -> None:
        width = weight.shape[1]
        self.weight = tf.Variable(weight)
        self.beta = tf.Variable(tf.zeros(width))
        self.gamma = tf.Variable(tf.ones(width)) if normalized else None
        self.mean, self.variance = (tf.Variable(value([width])) for value in (tf.zeros, tf.ones))
        self.trained = [self.weight, self.beta, *([self.gamma] if normalized else [])]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """The sums of a batch; the moving averages follow."""
        s = tf.matmul(x, self.weight)
        if self.gamma is None:
            return s + self.beta
        mean, variance = tf.nn.moments(s, [0])
        self.mean.assign(DECAY * self.mean + (1 - DECAY) * mean)
        self.variance.assign(DECAY * self.variance + (1 - DECAY) * variance)
        return tf.nn.batch_normalization(s, mean, variance, self.beta, self.gamma, EPS)
