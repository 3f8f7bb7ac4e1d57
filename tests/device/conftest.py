"""A device of one's own on this machine, and bundles small enough to read."""

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.bundle import Bundle, BundleFile, RuntimePack
from edgekit.device import Device, LocalAddress, connect

RUNNER = """
import json, os, sys
import greeting                                  # from the runtime's wheel
job = json.load(open(sys.argv[1]))
mode = job["job"]["mode"]
if mode == "crash":
    sys.stderr.write("about to fall\\n"); sys.stderr.flush(); os.kill(os.getpid(), 11)
if mode == "fail":
    raise ValueError("no such layer")
if mode == "hang":
    if os.fork() == 0:
        import time
        time.sleep(600)
    open(os.path.join(job["output"], "pid"), "w").write(str(os.getpid()))
    import time
    print(json.dumps({"event": "progress", "phase": "hang", "done": 0, "total": 1}), flush=True)
    time.sleep(600)
if mode == "busy":
    import time
    while time.process_time() < 1.2:
        pass
if mode == "silent":
    sys.exit(0)
print("a stray line")
for done in (1, 2, 3):
    print(json.dumps({"event": "progress", "phase": "model", "done": done, "total": 3}))
answers = [open(path, "rb").read().decode("latin-1") for path in job["frames"]]
if mode == "echo":
    answers = [job]
outputs = []
for index, path in enumerate(job["frames"]):
    name = "out-%d-0.npy" % index
    open(os.path.join(job["output"], name), "wb").write(b"output of " + open(path, "rb").read())
    outputs.append({"frame": index, "name": "output0", "dtype": "uint8", "shape": [1],
                    "path": name})
made = {}
if mode.startswith("make "):
    made = {"made": [mode[5:]]}
    open(os.path.join(job["output"], "tuned.bin"), "wb").write(b"tuned" * 30000)
result = {"model_ns": [5, 6, 7], "end_to_end_ns": [8, 9], "load_ns": 1, "memory_peak_bytes": 2,
          "versions": {"greeting": greeting.WORD, "threads": str(job["knobs"].get("threads")),
                       "suffix": os.path.splitext(job["frames"][0])[1] if job["frames"] else ""},
          "outputs": outputs, "answers": answers, **made}
place = os.path.join(job["output"], "result.json")
json.dump(result, open(place + ".new", "w"))
os.rename(place + ".new", place)
"""


class Workshop:
    """Makes content, bundles and wheels in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, data: bytes, path: str = "content") -> BundleFile:
        sha256 = hashlib.sha256(data).hexdigest()
        source = self.folder / sha256
        source.write_bytes(data)
        return BundleFile(path, sha256, len(data), source)

    def wheel(self, members: dict[str, bytes], name: str = "greeting-1-py3-none-any.whl"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in members.items():
                archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
        return self.file(packed.getvalue(), name)

    def runner(self) -> BundleFile:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(zipfile.ZipInfo("__main__.py"), RUNNER)
        return self.file(packed.getvalue(), "runner.pyz")

    def bundle(self, mode: str = "good", *, model: bytes = b"weights", **changes) -> Bundle:
        wheel = self.wheel(
            {
                "greeting.py": b"WORD = 'hello'",
                "greeting-1.data/purelib/merged.py": b"",
                "greeting-1.data/scripts/tool": b"#!python",
                "greeting-1.dist-info/METADATA": b"Name: greeting",
            }
        )
        fields = {
            "name": "tiny",
            "engine": "ncnn",
            "precision": "fp32",
            "target": "local",
            "architecture": "x86_64",
            "compatible": (),
            "files": (self.file(model, "model/net.bin"), self.runner()),
            "runtime": RuntimePack(f"tiny-{wheel.sha256[:8]}", sys.executable, (wheel,)),
            "job_json": json.dumps({"mode": mode}),
            "knobs": (("threads", 2),),
        }
        return Bundle(**{**fields, **changes})


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "workshop")


@pytest.fixture
def device_root(tmp_path: Path) -> Path:
    return tmp_path / "device"


@pytest.fixture
def device(device_root: Path) -> Iterator[Device]:
    with connect(LocalAddress(root=device_root)) as opened:
        yield opened


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
