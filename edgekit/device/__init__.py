"""Devices: a way to reach them, and the agent that does the work there."""
