"""Run: the loop, the schedule, the checkpoints."""
