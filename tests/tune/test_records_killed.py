"""kill -9 at any moment: whatever was acknowledged is there."""

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tuning_records import SCOPE, make_record

from edgekit.tune.records import open_records

TESTS = Path(__file__).resolve().parents[1]

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tuning_records import make_record
from edgekit.tune.records import open_records

first = int(sys.argv[3])
with open_records(Path(sys.argv[1])) as records:
    for number in range(first, first + 100_000):
        records.append(make_record(trace_bytes=number * 997 % 30_000, device=str(number)))
        print(number, flush=True)
"""

IN_MID_TRANSACTION = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tuning_records import make_record
from edgekit.tune.database import insert
from edgekit.tune.store import Store

store = Store(Path(sys.argv[1]))
store.run(lambda held: insert(held, [make_record(device=str(n)) for n in range(20)]))
def work(held):
    held.execute("PRAGMA cache_size=5")  # so few pages that they are written before the end
    insert(held, [make_record(trace_bytes=3000, device="lost") for n in range(200)])
    os.kill(os.getpid(), signal.SIGKILL)
store.run(work)
"""


def start(script, path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path), str(TESTS), *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_every_acknowledged_trial_survives_kill_at_random_moments(tmp_path):
    path = tmp_path / "records.sqlite"
    acknowledged: list[str] = []
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for _ in range(8):
        writer = start(WRITER, path, str(len(acknowledged) + 1_000 * _))
        acknowledged.append(writer.stdout.readline().strip())
        time.sleep(moments.uniform(0, 0.15))
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split()
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        notes = []
        with open_records(path, emit=notes.append) as records:
            found = [record.device for record in records.trials(SCOPE)]
        assert not set(acknowledged) - set(found), f"seed {seed}"
        assert len(found) <= len(acknowledged) + 1 + _, f"seed {seed}"
        assert notes == []
    assert len(acknowledged) > 8


def test_transaction_that_was_half_written_is_undone(tmp_path):
    path = tmp_path / "records.sqlite"
    writer = start(IN_MID_TRANSACTION, path)
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    assert path.with_name(f"{path.name}-journal").stat().st_size, "nothing was written before"
    grown = path.stat().st_size
    notes = []
    with open_records(path, emit=notes.append) as records:
        found = [record.device for record in records.trials(SCOPE)]
        assert records.append(make_record())
    assert found == [str(number) for number in range(20)]
    assert path.stat().st_size < grown
    assert notes == []
