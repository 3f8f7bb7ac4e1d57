"""Every public name says what it is, in Google style."""


def test_public_names_have_docstrings(run_tool):
    done = run_tool("ruff", "check", "--no-cache", "--select", "D", "edgekit", "device_agent")
    assert done.returncode == 0, done.stdout + done.stderr
