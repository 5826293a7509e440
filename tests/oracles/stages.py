"""What a network's layers make of their rows, derived a second time: float64, plain numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from normscope.nn import MLP
from normscope.records import Inspection, LayerStatistics
from tests.oracles.mlp import acting_weight

PERCENTILES = (15, 50, 85)


@dataclass(frozen=True)
class ByHand:
    s1: np.ndarray
    s2: np.ndarray
    s3: np.ndarray


def numbers(values: object) -> np.ndarray:
    return values.detach().double().numpy()


def stages_by_hand(network: MLP, images: np.ndarray, *, training: bool) -> list[ByHand]:
    """Every layer's stages; a batch norm takes the rows' statistics, or the running ones."""
    x, seen = images.reshape(len(images), -1).astype(np.float64), []
    for layer in network.layers:
        s1, norm = x @ numbers(acting_weight(layer.linear)).T, layer.norm
        if isinstance(norm, nn.Identity):
            s2, s3 = s1, s1 + numbers(layer.linear.bias)
        else:
            if isinstance(norm, nn.LayerNorm):
                mean, variance = s1.mean(1, keepdims=True), s1.var(1, keepdims=True)
            elif training:
                mean, variance = s1.mean(0), s1.var(0)
            else:
                mean, variance = numbers(norm.running_mean), numbers(norm.running_var)
            s2 = (s1 - mean) / np.sqrt(variance + norm.eps)
            s3 = numbers(norm.weight) * s2 + numbers(norm.bias)
        seen.append(ByHand(s1, s2, s3))
        x = np.maximum(s3, 0)
    return seen


def s3_from_record(
    layer: LayerStatistics, s1: Sequence[float], s2: Sequence[float] | None
) -> np.ndarray:
    """What a page computes: s3 from the record's numbers alone."""
    if layer.norm == "batch":
        deviation = np.sqrt(np.array(layer.running_variance) + layer.eps)
        s2 = (np.array(s1) - layer.running_mean) / deviation
    elif layer.norm == "none":
        return np.array(s1) + layer.beta
    return np.array(layer.gamma) * s2 + layer.beta


def logits_from_record(seen: Inspection, index: int) -> np.ndarray:
    """One specimen's logits, from the record alone."""
    specimen = seen.specimens[index]
    s2 = specimen.s2[-1] if specimen.s2 else None
    return s3_from_record(seen.layers[-1], specimen.s1[-1], s2)
