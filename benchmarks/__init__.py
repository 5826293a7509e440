"""Us, our peers and the physical floor, side by side in one run: `./dev bench`.

Who reads this folder begins with:

* `tables`: what a measurement is: raw samples, ratios round by round, targets. No torch.
* `contest`: every contestant in a process of its own, driven in turns. `worker` is the other end.
* `sections`: what is measured, one file each. `steps`: the contestants of the training step.
* `printing`: the tables, on a terminal and in the README. `__main__`: the command.

How to run it, and what is fair about it, is in `docs/benchmarks.md`.
"""
