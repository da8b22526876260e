"""What must be true of a server before it is snapshotted, and again after it was restored.

warm_up   the requests that make a loaded server a warm one
"""
