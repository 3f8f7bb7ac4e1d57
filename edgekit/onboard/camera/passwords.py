"""Passwords: a run needs them, and tells them nowhere."""

import re

# Up to the last "@" before the path: who does not escape one in a password has it there.
_IN_URL = re.compile(r"(://[^\s/@:\"]*):[^\s/\"]*@")
# As GStreamer's elements have them (rtspsrc user-id=me user-pw=word), and cameras in a URL's query;
# a quote may be escaped, as in JSON.
_NAMED = re.compile(
    r"\b((?:[\w-]*-pw|password|passwd)\s*=\s*)(?:(\\?[\"'])(?:(?!\2).)*\2|[^\s\"'&\\]+)",
    re.IGNORECASE,
)


def without_passwords(text: str) -> str:
    """Return a text with the passwords in it left out: ``rtsp://me:***@camera``."""
    return _NAMED.sub(r"\1***", _IN_URL.sub(r"\1:***@", text))
