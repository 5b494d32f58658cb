"""The program's commands, run as an operator runs them, on a store that a server uses."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tusserver import cli

ROOT = Path(__file__).resolve().parents[2]


class Operator:
    """Runs commands on one store."""

    def __init__(self, upload_dir, state):
        self.upload_dir = upload_dir
        self.state = state

    def arguments(self, *words):
        flags = [f"--upload-dir={self.upload_dir}", f"--state={self.state}", "--reserve=0"]
        return [sys.executable, "-m", "tusserver", *words, *flags]

    def environment(self):
        own = {name: value for name, value in os.environ.items() if "TUSSERVER_" not in name}
        return own | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}

    def run(self, *words):
        """Run a command in this process, which saves its start."""
        said, told, root = io.StringIO(), io.StringIO(), logging.getLogger()
        handlers, level = list(root.handlers), root.level
        try:
            with redirect_stdout(said), redirect_stderr(told):
                status = cli.main(self.arguments(*words)[3:])
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        done = subprocess.CompletedProcess(words, status, said.getvalue(), told.getvalue())
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def lines(self, *words):
        """Run a command that must succeed; give the lines it prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def json(self, *words):
        """Run a command that must succeed; give the JSON lines it prints."""
        return [json.loads(line) for line in self.lines(*words, "--json")]

    def show(self, upload_id):
        [found] = self.json("show", upload_id)
        return found


@pytest.fixture
def place(upload_dir):
    return upload_dir / "uploads"


@pytest.fixture
def server(make_server, place, state_url):
    """A server on the store, with either kind of state."""
    return make_server("--sweep-interval=1h", upload_dir=place, state=state_url)


@pytest.fixture
def operator(server, place, state_url):
    return Operator(place, state_url)
