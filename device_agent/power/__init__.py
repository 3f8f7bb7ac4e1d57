"""Power sensors of the device: which rails there are, and what they read over time.

Nothing of the agent calls this yet.
"""
