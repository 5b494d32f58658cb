"""A record is a line, whatever is in it; and writing lines stops nobody."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from tests.support.raw import Tus
from tests.support.waiting import eventually
from tusserver.logs import (
    JsonLines,
    QueuedHandler,
    TextLines,
    flush_lines,
    lines_in_thread,
    log_request,
    start_logging,
)

EVIL = "a\n2026-01-01T00:00:00.000Z INFO root all is well\r\x1b[2J\u2028\x85b"


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("tusserver.test", logging.WARNING, "", 0, message, None, None)
    made.__dict__.update(extra)
    return made


def raised(text: str) -> tuple:
    try:
        raise ValueError(text)  # noqa: TRY301 - it is to have a trace
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()], ids=["text", "json"])
@pytest.mark.parametrize("where", ["message", "field", "owner"])
def test_what_strangers_send_begins_no_line(formatter, where):
    fields = {} if where == "message" else {"owner": EVIL}
    line = formatter.format(record(EVIL if where == "message" else "x", tus_fields=fields))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_a_trace_is_indented_below_its_line():
    made = record("it failed")
    made.exc_info = raised(EVIL)
    first, *rest = TextLines().format(made).split("\n")
    assert first.endswith("WARNING tusserver.test it failed")
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_a_trace_is_one_field_of_a_line_of_json():
    made = record("it failed")
    made.exc_info = raised("broken")
    line = JsonLines().format(made)
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["exc_info"]


@pytest.mark.parametrize("value", ["a b", 'a"b', "a=b", ""], ids=repr)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_value_that_would_not_stand_alone_is_quoted(value, place):
    fields: dict[str, object] = {"first": "plain", "second": 2, "third": 0.5}
    fields[list(fields)[place]] = value
    line = TextLines().format(record("x", tus_fields=fields))
    told = [f"{name}={json.dumps(one) if one == value else one}" for name, one in fields.items()]
    assert line.endswith(f" x {' '.join(told)}")


def test_values_with_blanks_are_quoted():
    line = TextLines().format(record("x", tus_fields={"owner": 'Anna "A" B', "n": 5}))
    assert line.endswith(r' owner="Anna \"A\" B" n=5')


# --- the thread -----------------------------------------------------------------------------


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def read_all(reader: int) -> bytes:
    parts = []
    try:
        while part := os.read(reader, 65536):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


def test_nobody_waits_for_who_does_not_read_and_what_was_lost_is_told(pipe):
    reader, writer = pipe
    handler = QueuedHandler(writer, max_waiting=100)
    handler.setFormatter(TextLines())
    start = time.perf_counter()
    for number in range(5000):
        handler.handle(record(f"number {number} " + "x" * 100))
    assert time.perf_counter() - start < 2
    text = b""

    def counted() -> tuple[int, int]:
        nonlocal text
        text += read_all(reader)
        whole = text.decode()[: text.rfind(b"\n") + 1].splitlines()
        lost = [line.partition(" tusserver.logs ")[2] for line in whole if "were lost" in line]
        return len(whole) - len(lost), sum(int(line.split()[0]) for line in lost)

    assert eventually(lambda: sum(counted()) == 5000)
    handler.close()
    assert counted()[1] > 1000


def test_the_end_of_the_program_does_not_wait_long_for_a_reader(pipe):
    _, writer = pipe
    handler = QueuedHandler(writer, max_waiting=10)
    handler.setFormatter(TextLines())
    for _ in range(2000):
        handler.handle(record("x" * 200))
    start = time.perf_counter()
    handler.close()
    assert time.perf_counter() - start < 5


def test_what_was_logged_is_written_when_it_is_flushed(pipe):
    reader, writer = pipe
    handler = QueuedHandler(writer)
    handler.setFormatter(TextLines())
    for number in range(300):
        handler.handle(record(f"number {number}"))
    handler.flush()
    assert read_all(reader).count(b"\n") == 300
    handler.close()


def test_a_forked_process_writes_its_lines_too():
    code = (
        "import logging, os\n"
        "from tusserver.logs import flush_lines, lines_in_thread, start_logging\n"
        "start_logging('info')\n"
        "with lines_in_thread():\n"
        "    logging.info('parent')\n"
        "    pid = os.fork()\n"
        "    logging.info('child' if pid == 0 else 'after')\n"
        "    flush_lines()\n"
        "    if pid == 0: os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(line.split()[-1] for line in done.stderr.splitlines()) == [
        "after",
        "child",
        "parent",
    ]


def test_the_logging_of_a_host_application_is_left_alone():
    before = logging.getLogger().handlers[:]
    with lines_in_thread():
        assert logging.getLogger().handlers == before
    assert not [one for one in threading.enumerate() if one.name == "tusserver-log"]


def test_uploads_go_on_while_nobody_reads_the_log(upload_dir):
    command = [sys.executable, "-m", "tusserver", "--port", "0", "--reserve", "0"]
    process = subprocess.Popen(
        [*command, "--upload-dir", str(upload_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        url = process.stdout.readline().split()[-1].decode()
        tus = Tus(url)
        with tus.wire() as wire:
            # Each leaves a line of some 150 bytes: several times what a pipe holds.
            for _ in range(1500):
                assert tus.request("OPTIONS", wire=wire).status == 204
        tus.upload(b"hello")
        process.terminate()
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert errors.count(b"OPTIONS") == 1500
    finally:
        process.kill()
        process.communicate()


def test_a_request_is_the_same_line_with_and_without_a_record(pipe, monkeypatch):
    reader, writer = pipe
    asked = ("GET", EVIL, 204)
    fields = {"remote": EVIL, "seconds": 0.25}
    all_fields = dict(zip(("method", "path", "status"), asked, strict=True)) | fields
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.125)
    logger = logging.getLogger("tusserver.access")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with open(writer, "wb", closefd=False) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        start_logging("info")
        with lines_in_thread():
            log_request(logger, logging.INFO, "", asked, fields)
            logger.info("%s %s %d", *asked, extra={"tus_fields": all_fields})
            flush_lines()
    first, second = read_all(reader).decode().splitlines()
    assert first == second
    assert first.startswith("2023-11-14T22:13:20.125Z INFO tusserver.access GET a")
