"""50,000 steps on a GPU: ``python -m benchmarks.contestants.cuda`` prints their seconds."""

import json
import time

import torch

import normscope as ns
from benchmarks.contestants.data import noise

TIMES = 3


def main() -> None:
    """Train for one epoch, which starts the device, and then some times for a hundred."""
    if not torch.cuda.is_available():
        print(json.dumps({"left_out": "torch sees no GPU here"}))
        return
    dataset = noise(train=60_000, valid=6_000, test=10_000)
    ns.train(ns.Recipe(device="cuda", epochs=1), dataset)
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        ns.train(ns.Recipe(device="cuda", epochs=100), dataset)
        seconds.append(time.perf_counter() - started)
    device = torch.cuda.get_device_name()
    print(json.dumps({"seconds": seconds, "device": device, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
