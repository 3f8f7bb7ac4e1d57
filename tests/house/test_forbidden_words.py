"""No tracked file names a package registry's host, a path of one machine, or holds a conflict.

The words are put together here from pieces, so that this file does not hold them itself.
"""

import re

FORBIDDEN = {
    "a package index": [
        "files.python" + "hosted.org",
        "pypi" + r".org/simple",
        "deb." + "debian.org",
        "security." + "debian.org",
        "snapshot." + "debian.org",
        "registry." + "npmjs.org",
    ],
    "a path of one machine": [
        r"(?<![\w.}])/wo" + "rk/",
        r"(?<![\w.}])/fa" + r"rm\b",
        r"\.lib" + "rary/",
        r"/root/\.py" + "env/",
        r"(?<![\w.])/ho" + r"me/(?!user\b|pi\b|\w*[{<$*])\w+",
        r"/tm" + r"p/w/",
    ],
    "two versions that git could not merge": [r"(?m)^<{7} ", r"(?m)^>{7} "],
}


def test_no_file_holds_what_must_not_be_there(tracked, root):
    patterns = {
        re.compile(word.encode()): kind for kind, words in FORBIDDEN.items() for word in words
    }
    found = []
    for file in tracked:
        content = file.read_bytes()
        if b"\0" in content[:8192]:
            continue
        for pattern, kind in patterns.items():
            for match in pattern.finditer(content):
                line = content.count(b"\n", 0, match.start()) + 1
                found.append(f"{file.relative_to(root)}:{line}: {kind}: {match[0].decode()}")
    assert not found, "\n".join(found)
