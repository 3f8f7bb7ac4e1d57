"""Writes images to disks, verified, and prepares them for their first boot."""
