"""Keras: Dense and BatchNormalization layers, ``compile`` and ``fit``, on TensorFlow."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras

from benchmarks.steps.task import INPUTS, LEARNING_RATE, Task
from benchmarks.steps.tensorflow import set_threads
from benchmarks.worker import Pace


class Turns(keras.callbacks.Callback):
    """Waits for its turn after every step."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        """A step is done."""
        self._pace()


def run(pace: Pace, **job: Any) -> None:
    """Let `fit` train without end; its progress bar is switched off."""
    set_threads()
    task = Task(**job)
    layers: list[Any] = [keras.Input((INPUTS,))]
    for _, outputs in task.shapes:
        layers.append(keras.layers.Dense(outputs))
        if task.normalized:
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.ReLU())
    model = keras.Sequential(layers[:-1])
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(*task.data(), task.batch, epochs=10**9, verbose=0, callbacks=[Turns(pace)])
