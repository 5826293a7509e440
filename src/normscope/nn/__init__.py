"""Build: batch normalization and its relatives, and the networks that use them."""
