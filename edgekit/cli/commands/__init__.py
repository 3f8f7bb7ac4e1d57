"""One file a command: ``<verb>.py`` holds ``COMMAND``. No table to edit.

A module here imports click and nothing heavy: all of them are loaded for ``--help``.
"""
