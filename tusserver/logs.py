"""Log records as lines on stderr, text or JSON (floor 4).

A line is a line: whatever strangers sent, no character in it can begin another one or steer a
terminal; what follows a record, such as a trace, is indented. While serving, lines are written
by a thread: a pipe that nobody reads stops no upload. What does not fit into its queue is
lost, counted, and told.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import select
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pythonjsonlogger.json import JsonFormatter

from tusserver.account import current_account

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TEXT = "text"
JSON = "json"

MAX_WAITING = 10_000
"""Lines that wait to be written."""
BATCH = 500
GATHER_SECONDS = 0.02
"""How long lines that are not urgent wait for others: waking the thread costs more than a line."""
LAST_WORDS = 2.0
"""Seconds for which the end of the program waits for a reader of its last lines."""

_ASKED = ("method", "path", "status")
"""Fields of a request that its message tells; they stand alone where programs read."""
_is_bare = re.compile(r'[^ "=]+').fullmatch
_NAMES = {level: logging.getLevelName(level) for level in (logging.INFO, logging.WARNING)}


def start_logging(level: str = "warning", style: str = TEXT) -> None:
    """Send the log records of this process to stderr, from `level` upwards."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if style == JSON else TextLines())
    handler.addFilter(_mark)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


@contextmanager
def lines_in_thread() -> Iterator[None]:
    """Write log lines by a thread in this block, so that no call waits for who reads them.

    Does nothing unless `start_logging` came before: a host application's logging is its own.
    """
    root = logging.getLogger()
    direct = next((one for one in root.handlers if _mark in one.filters), None)
    if direct is None:
        yield
        return
    queued = QueuedHandler(sys.stderr.fileno())
    queued.setFormatter(direct.formatter)
    queued.addFilter(_mark)
    root.addHandler(queued)
    root.removeHandler(direct)
    is_alone = root.handlers == [queued] and isinstance(queued.formatter, TextLines)
    _WRITER.alone = queued if is_alone else None
    try:
        yield
    finally:
        _WRITER.alone = None
        root.addHandler(direct)
        root.removeHandler(queued)
        queued.close()


class _Writer:
    """Who writes the lines of this process."""

    alone: QueuedHandler | None = None
    """The only handler there is, if it writes text."""


_WRITER = _Writer()


def log_request(
    logger: logging.Logger,
    level: int,
    request_id: str,
    asked: tuple[str, str, int],
    fields: Mapping[str, str | float],
) -> None:
    """Log what came of the present request: method, path and status, and fields that follow.

    Where text goes to our own thread and nowhere else, no record is made of it: that costs more
    than the line. The logger must be enabled for the level, which is INFO or WARNING.
    """
    handler = _WRITER.alone
    if handler is None:
        told = dict(zip(_ASKED, asked, strict=True))
        extra = {"tus_fields": {**told, **fields}}
        logger.log(level, "%s %s %d", *asked, extra=extra, stacklevel=2)
        return
    method, path, status = asked
    line = text_line(
        time.time(),
        logger.name,
        _NAMES[level],
        request_id=request_id,
        message=f"{method} {path} {status}",
        fields=fields,
    )
    handler.put(line, is_urgent=level >= logging.WARNING)


def flush_lines() -> None:
    """Wait until what was logged is written, two seconds at most: for who ends the process."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _mark(record: logging.LogRecord) -> bool:
    """Put the id of the present request on a record."""
    account = current_account()
    if account is not None:
        record.request_id = account.request_id
    return True


def rfc3339(seconds: float) -> str:
    """Write a time as RFC 3339 does, in UTC, with milliseconds."""
    return f"{_whole_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=4)
def _whole_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class TextLines(logging.Formatter):
    """Lines for people: time, level, logger, the request's id in brackets, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; what is more than a line of it is indented."""
        known = record.__dict__
        fields = known.get("tus_fields", {})
        line = text_line(
            record.created,
            record.name,
            record.levelname,
            request_id=known.get("request_id", ""),
            message=record.getMessage(),
            fields={name: value for name, value in fields.items() if name not in _ASKED},
        )
        if record.exc_info or record.exc_text or record.stack_info:
            return "\n".join([line, *self._more(record)])
        return line

    def _more(self, record: logging.LogRecord) -> Iterator[str]:
        """Give the lines of traces, indented."""
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        for more in (record.exc_text, record.stack_info):
            yield from (f"    {_plain(row)}" for row in (more or "").splitlines())


def text_line(
    created: float,
    name: str,
    level: str,
    *,
    request_id: str,
    message: str,
    fields: Mapping[str, object],
) -> str:
    """Write a line for people."""
    mark = f"[{request_id}] " if request_id else ""
    line = f"{rfc3339(created)} {level} {name} {mark}{message}"
    return _plain(f"{line} {_told(fields)}" if fields else line)


def _told(fields: Mapping[str, object]) -> str:
    """Write fields as `name=value`, with quotes around what would not stand alone."""
    values = list(map(str, fields.values()))
    # All of them at once: hardly any needs quotes.
    text = "=".join(values)
    if '"' in text or " " in text or "" in values or text.count("=") >= len(values):
        values = [one if _is_bare(one) else json.dumps(one, ensure_ascii=False) for one in values]
    return " ".join(map("=".join, zip(fields, values, strict=True)))


def _plain(text: str) -> str:
    """Give text without what could begin a line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class JsonLines(JsonFormatter):
    """Lines for programs: one object each, in ASCII."""

    def __init__(self) -> None:
        """Name the fields that every line has."""
        super().__init__(["time", "level", "logger", "message"], json_ensure_ascii=True)

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        """Fill in what is known of a record; other libraries' extra fields are left out."""
        log_data["time"] = rfc3339(record.created)
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["message"] = record.message
        request_id = getattr(record, "request_id", "")
        if request_id:
            log_data["request_id"] = request_id
        log_data.update(getattr(record, "tus_fields", {}))
        log_data.update(message_dict)


class QueuedHandler(logging.Handler):
    """Writes lines to a file descriptor in a thread of its own."""

    def __init__(self, descriptor: int, *, max_waiting: int = MAX_WAITING) -> None:
        """Write to `descriptor`; `max_waiting` lines wait, more are lost."""
        super().__init__()
        self._descriptor = descriptor
        self._max_waiting = max_waiting
        self._begin()
        # A thread does not come through a fork, and its queue may be locked there for ever.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lines: deque[str] = deque()
        # What wakes the thread: the first of the lines that wait, and each that is urgent.
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_called = False
        self._flushing: deque[threading.Event] = deque()
        self._lost = 0
        self._counting = threading.Lock()
        self._closing = False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's line; never waits."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of the library
            self.handleError(record)
            return
        self.put(line, is_urgent=record.levelno >= logging.WARNING)

    def put(self, line: str, *, is_urgent: bool) -> None:
        """Queue a line, and have it written at once if it is urgent; never waits."""
        if self._thread is None:
            # Not a moment earlier: whoever forks before the first line has no thread to lose.
            self._thread = threading.Thread(target=self._run, name="tusserver-log", daemon=True)
            self._thread.start()
        if len(self._lines) >= self._max_waiting:
            with self._counting:
                self._lost += 1
            return
        self._lines.append(line)
        # Who is called already has not begun to take lines: it will see this one.
        if not self._is_called:
            self._is_called = True
            self._calls.put(None)
        if is_urgent:
            self._calls.put(None)

    def _run(self) -> None:
        lines, calls = self._lines, self._calls
        while not self._closing:
            calls.get()
            with suppress(queue.Empty):  # Until the second call, which is an urgent one.
                calls.get(timeout=GATHER_SECONDS)
            self._is_called = False
            # Whoever flushes waits for no line that comes later.
            flushing = [self._flushing.popleft() for _ in range(len(self._flushing))]
            left = len(lines)
            while left or self._lost:
                count = min(left, BATCH)
                left -= count
                told = [lines.popleft() for _ in range(count)]
                if self._lost:
                    told.append(self._tell_lost())
                told.append("")
                self._write("\n".join(told).encode(errors="replace"))
            for event in flushing:
                event.set()

    def _tell_lost(self) -> str:
        with self._counting:
            lost, self._lost = self._lost, 0
        text = f"{lost} log lines were lost: whoever reads them is too slow"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
        return self.format(record)

    def _write(self, data: bytes) -> None:
        # Not by sys.stderr: its lock, held by a thread that waits, would break the exit.
        rest = memoryview(data)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    select.select([], [self._descriptor], [])
        except OSError:
            return  # Nobody reads any more; there is nobody to tell.

    def flush(self) -> None:
        """Wait until what was logged before is written, two seconds at most."""
        if self._thread is None:
            return
        written = threading.Event()
        self._flushing.append(written)
        self._calls.put(None)
        self._calls.put(None)  # It does not gather either.
        written.wait(LAST_WORDS)

    def close(self) -> None:
        """Write what waits, for two seconds at most, and end the thread."""
        self.flush()
        self._closing = True
        self._calls.put(None)
        self._calls.put(None)
        self._thread = None
        super().close()
