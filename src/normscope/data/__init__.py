"""Arrays from files: one file per format, one list of built-in sets, no torch.

The door is `load`: it takes a path or a built-in name, and gives a `Dataset`.
"""
