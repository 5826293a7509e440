"""Images as a network takes them."""

import numpy as np
import torch
from torch import nn

from normscope._shapes import Inputs
from normscope.data import Split

# As where a run is tested: the same products, and so the same answers.
_CHUNK_ROWS, _FEWEST_CHUNK_ROWS, _CHUNK_NUMBERS = 512, 16, 2**21


def chunks(network: nn.Module, split: Split) -> list[Inputs]:
    """All images, a few hundred at a time; fewer where they are large."""
    fitting = _CHUNK_NUMBERS // max(1, split.images[0].size)
    rows = max(_FEWEST_CHUNK_ROWS, min(_CHUNK_ROWS, fitting))
    return list(where_it_is(network, split.images).split(rows))


def where_it_is(network: nn.Module, images: np.ndarray) -> Inputs:
    """Images on the network's device."""
    return torch.from_numpy(images).to(next(network.parameters()).device)
