"""Results and what they were made from: versioned JSON and TOML, no torch."""
