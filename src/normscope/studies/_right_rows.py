"""Which test rows a finished network has right: `right.bin` in the run folder, a bit each."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from normscope.data import Split
from normscope.records import storage_errors, write_atomically
from normscope.training import Rows

_FILE = "right.bin"


@torch.no_grad()
def write_right_rows(folder: Path, network: nn.Module, test: Split) -> None:
    """Keep in `folder` which rows of `test` the network has right, in eval mode, in which it stays.

    They pass in the test's own chunks, so that the rounding is the same, and the memory.

    Raises:
        StorageError: if the disk refuses.
    """
    network.eval()
    rows = Rows.of(test, next(network.parameters()).device)
    answers = torch.cat([network(chunk.images).argmax(dim=1) for chunk in rows.chunks()])
    bits = np.packbits((answers == rows.labels).cpu().numpy())
    with storage_errors(folder):
        write_atomically(folder / _FILE, bits.tobytes())


def read_right_rows(folder: Path) -> bytes | None:
    """What `write_right_rows` left in `folder`; None if it was never called.

    Raises:
        StorageError: if the file is there and cannot be read.
    """
    with storage_errors(folder / _FILE):
        return (folder / _FILE).read_bytes() if (folder / _FILE).exists() else None
