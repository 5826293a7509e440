"""Ask: compare and explain, designs with paired seeds and intervals.

The room is built and empty: studies move in with *Does it help?*.
"""
