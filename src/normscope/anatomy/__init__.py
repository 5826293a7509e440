"""Read any model, and leave it as it was."""
