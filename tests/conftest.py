"""The fixtures that all tests share: directories, servers, state stores."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.support.longform import LongForm, add_options
from tests.support.redis_fixture import redis_server, start_redis
from tests.support.server import MOUNTED, PROGRAM, WAY, TusServer
from tests.support.watching import WATCHED, watch
from tusserver.storage.pool import TimedWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["redis_server", "start_redis"]

CLOCKED = {
    "browser", "check", "commands", "conformance", "delivery", "hooks", "logs", "metrics", "page",
    "process", "proxies", "quota", "security", "uploader",
}  # fmt: skip
"""Folders whose tests watch clocks, processes and browsers: those that fail are run once more.

Counted as `rerun` in the summary. Where bytes and offsets are the subject nothing gets a second
chance but what was only late (`Late`): what goes wrong there once in a thousand runs is a finding.
"""


def is_no_measurement(record: logging.LogRecord) -> bool:
    """Tell apart what asyncio's debug mode says of slow steps: that is the machine's affair."""
    return not str(record.msg).startswith("Executing ")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the long form."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Take the signals that programs are ended by back from whoever ignored them for us.

    `nohup`, and shells that start something in the background, do; programs inherit it.
    """
    config.pluginmanager.register(LongForm(config), "longform")
    # How long it takes to make and try an example is the machine's affair, not the verdict's.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("tests")
    logging.getLogger("asyncio").addFilter(is_no_measurement)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that a busy machine can disturb a second chance."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.path.relative_to(here).parts[0] in CLOCKED:
            item.add_marker(pytest.mark.flaky(reruns=1))
        else:
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=[r"^Late: "]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Show the logs of the servers with a test that failed."""
    report = yield
    if report.failed:
        for number, server in enumerate(item.stash.get(WATCHED, [])):
            name = f"log of server {number} (port {server.port})"
            report.sections.append((name, server.log[-8000:]))
    return report


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    """Undo what a command that runs in this process does to the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def upload_dir() -> Iterator[Path]:
    """A short path: unix sockets lie below it, and their addresses hold 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="tus-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def quick_disk() -> Iterator[None]:
    """Let the loop do what a quick disk lets it do, whatever else this machine does now."""
    # Not by `monkeypatch`: what tests change with it would be put back after their stores close.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TimedWriter, "_may_write", lambda *_: True)
        patch.setattr(TimedWriter, "_judge", lambda *_: False)
        yield


@pytest.fixture
def make_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., TusServer]]:
    """Start servers: `make_server(*flags, upload_dir=, state=, mode=)`; they end with the test.

    One that logged a traceback fails the test, unless the test sets `server.may_fail`.
    """
    servers: list[TusServer] = []
    with ExitStack() as stack:

        def make(*flags: str, **options) -> TusServer:
            server = stack.enter_context(TusServer(*flags, **options))
            servers.append(server)
            return watch(request, server)

        yield make
        for server in servers:
            server.check_log()


@pytest.fixture(scope="module", params=[PROGRAM, MOUNTED])
def module_server(request: pytest.FixtureRequest) -> Iterator[TusServer]:
    """One server for the tests of a module: the program, and then mounted in an application."""
    # So that all tests see each of the ways that bodies take.
    way = os.environ.get(WAY, "socket")
    flags = ("--ingest", way) if request.param == PROGRAM else ()
    with TusServer(*flags, mode=request.param) as server:
        yield server
        server.check_log()


@pytest.fixture
def server(request: pytest.FixtureRequest, module_server: TusServer) -> TusServer:
    """The server of the module, both ways; its log is shown if the test fails."""
    return watch(request, module_server)


@pytest.fixture(params=["local", "redis"])
def state_url(request: pytest.FixtureRequest) -> str:
    """What `--state` is given: the ledger, and a real Redis."""
    if request.param == "local":
        return "local"
    return request.getfixturevalue("redis_server").url
