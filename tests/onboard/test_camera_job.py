import subprocess
import sys

import pytest

# What runs instead of a pipeline, as its stages do: OpenCV is used after the job has begun.
CODE = """
from edgekit.onboard.camera import job

def use(pipeline, variants, folder):
    import cv2
    return {"threads": cv2.getNumThreads()}

job.run_camera = use
print(job.run_job({"pipeline": {}, "output": ""}, None, None, 1)["threads"])
"""


@pytest.mark.parametrize(("wanted", "threads"), [(None, 1), ("2", 2)])
def test_opencv_has_no_threads_of_its_own_beside_the_stages_unless_told(
    wanted, threads, monkeypatch
):
    monkeypatch.delenv("OPENCV_FOR_THREADS_NUM", raising=False)
    if wanted:
        monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", wanted)
    done = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    assert int(done.stdout) == threads
