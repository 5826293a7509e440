"""Change: one repair per file (recalibrate, fold, freeze, convert, export), each with a receipt.

The room is built and empty: repairs move in with *What is wrong with my model?*.
"""
