"""The part of edgekit that runs on a device: standard library only, Python 3.6 and newer.

It needs no root, listens on nothing, and does only what its fixed table of verbs names.
The host packs this folder into one file and talks to it through its standard streams.
"""

AGENT_VERSION = "1"
