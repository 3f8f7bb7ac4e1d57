"""One file a command: ``<verb>.py`` holds ``COMMAND``. No table to edit.

``edgekit --help`` shows what the file's first line says after its usage, and imports none of them.
A module here imports click and nothing heavy all the same: its own ``--help`` waits for it.
"""
