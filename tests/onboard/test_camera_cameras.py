"""The list of a device's cameras, where there are files that are none."""

import json
from pathlib import Path

from edgekit.onboard.camera.cameras import list_cameras, main


def test_files_that_cannot_be_asked_are_told_with_the_reason(tmp_path):
    (tmp_path / "video10").symlink_to("/dev/null")
    (tmp_path / "video2").symlink_to(tmp_path / "nowhere")
    (tmp_path / "video1").write_bytes(b"")
    told = list_cameras(str(tmp_path / "video*"))
    assert [Path(each["path"]).name for each in told] == ["video1", "video2", "video10"]
    assert all(each["refused"] for each in told)
    assert "No such" in told[1]["refused"]


def test_runner_leaves_them_among_its_answers(tmp_path):
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"output": str(tmp_path)}))
    assert main([str(job)]) == 0
    told = json.loads((tmp_path / "result.json").read_text())
    here = {str(path) for path in Path("/dev").glob("video*")}
    assert {each["path"] for each in told["answers"]} <= here
    assert (told["model_ns"], told["outputs"]) == ([], [])
