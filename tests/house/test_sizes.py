"""A file reads in one sitting; the repository stays light."""

SOURCE = {".py", ".sh", ".c", ".h", ".S"}
LINES = 400
TRACKED_BYTES = 3 << 20  # the largest thing that is shipped is a model of 2 MB


def test_source_files_read_in_one_sitting(tracked, root):
    long = []
    for file in tracked:
        if file.suffix in SOURCE:
            lines = file.read_bytes().count(b"\n")
            if lines > LINES:
                long.append(f"{file.relative_to(root)}: {lines} lines, {LINES} at most")
    assert not long, "\n".join(long)


def test_tracked_files_are_small(tracked, root):
    large = [
        f"{file.relative_to(root)}: {file.stat().st_size} bytes"
        for file in tracked
        if file.stat().st_size > TRACKED_BYTES
    ]
    assert not large, "\n".join(large)
