"""A bundle whose runner is the real one, with a session that needs nothing but NumPy."""

import hashlib
import io
import json
import platform
import re
import sys
import zipfile
from pathlib import Path

import edgekit
from edgekit.core.bundle import Bundle, BundleFile, RuntimePack

SESSION = """
import sys, time
from edgekit.onboard import harness

class Session:
    def __init__(self, folder, job, precision, knobs):
        self.nap_s, self.fail_at, self.calls = knobs["nap_s"], knobs["fail_at"], 0

    def run(self, inputs):
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("out of luck")
        time.sleep(self.nap_s)
        return {"y": inputs["images"].mean(axis=(2, 3))}

    def versions(self):
        return {"session": "1"}

sys.exit(harness.main(Session))
"""
JOB = {
    "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 48, 64]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 3]}],
    "preprocess": {"name": "resize", "parameters": {"size": [48, 64]}},
    "postprocess": {"name": "classify", "parameters": {"top_k": 1}},
    "classes": ["red", "green", "blue"],
}


def camera_bundle(
    folder: Path, *, name="tiny", precision="fp32", nap_s=0.0, fail_at=0, session=SESSION
) -> Bundle:
    """Make a bundle that tells which colour a picture has most of."""
    package = Path(edgekit.__file__).parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", session)
        archive.writestr("edgekit/__init__.py", "")
        for path in sorted((package / "onboard").rglob("*.py")):
            archive.writestr(path.relative_to(package.parent).as_posix(), path.read_bytes())
    data = packed.getvalue()
    file = folder / f"{hashlib.sha256(data).hexdigest()}.pyz"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return Bundle(
        name=name,
        engine="ncnn",
        precision=precision,
        target="local",
        architecture=platform.machine(),
        compatible=(),
        files=(BundleFile("runner.pyz", file.stem, len(data), file),),
        runtime=RuntimePack("none-needed", sys.executable, ()),
        job_json=json.dumps(JOB),
        knobs=(("fail_at", fail_at), ("nap_s", nap_s), ("threads", 1)),
    )


def runner_in(root: Path) -> int:
    """Find the process that runs a job below a device's folder."""
    for stat in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = stat.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(
            re.fullmatch(rf"{re.escape(str(root))}/.*job\.json", word.decode("utf-8", "replace"))
            for word in words
        ):
            return int(stat.parent.name)
    raise AssertionError(f"nothing runs below {root}")
