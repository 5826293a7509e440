"""The training step's contestants: one file each, one function ``run(pace, **task)`` in each.

All do the same work: the network of `task.Task`, its batches drawn anew from the same rows, the
same loss, Adam, float32.
"""

CONTESTANTS = {
    "floor": "floor",
    "normscope": "normscope",
    "torch_care": "PyTorch with care",
    "torch_compile": "torch.compile",
    "jax": "JAX, lax.scan",
    "torch_tutorial": "PyTorch as people write it",
    "tensorflow": "TensorFlow, tf.function",
    "lightning": "Lightning",
    "keras": "Keras fit",
}
"""The file of each contestant, and what the tables call it."""
