"""Numbers: moments, their merging, and moving averages, as pure functions on tensors."""
