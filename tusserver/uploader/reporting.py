"""What is told while files are sent: to people, to programs, or to nobody (floor 5).

The URLs of finished uploads go to standard output. No header is ever told, and no URL with a
password, or with its query if that of the creation URL had one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from tqdm import tqdm

from tusserver.uploader.order import shown_url

if TYPE_CHECKING:
    from typing import TextIO

SECONDS = 1.0
"""Between two events of progress."""
_NAME = 30
_COLUMNS, _ROWS = 80, 24
"""Of a terminal that does not say how large it is."""
_KNOWN = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}  {rate_fmt}  {remaining} left"
_UNKNOWN = "{desc} {n_fmt}  {rate_fmt}  {elapsed}"


class Reporter(Protocol):
    """Is told what happens, one file after the other."""

    def starts(self, name: str, size: int | None) -> None:
        """A file is begun; its size, if that is known."""

    def created(self, url: str, *, parts: int) -> None:
        """An upload was made, or one of so many parts."""

    def resumes(self, url: str, offset: int, *, parts: int) -> None:
        """An earlier upload goes on at an offset."""

    def at(self, place: int) -> None:
        """So many bytes of the file are on their way or there."""

    def waits(self, pause: float, reason: str) -> None:
        """Something is tried again after a pause."""

    def notes(self, text: str) -> None:
        """Something that the user may want to know."""

    def finished(self, name: str, url: str) -> None:
        """The file is there."""

    def failed(self, name: str, reason: str, *, passing: bool) -> None:
        """The file is not; `passing`: another run may succeed."""


class Quiet:
    """Tells of failures on stderr, and finished URLs on standard output."""

    def __init__(self, endpoint: str) -> None:
        """Know whether queries are secrets."""
        self._query = not urlsplit(endpoint).query

    def starts(self, name: str, size: int | None) -> None:
        """Tell nothing."""

    def created(self, url: str, *, parts: int) -> None:
        """Tell nothing."""

    def resumes(self, url: str, offset: int, *, parts: int) -> None:
        """Tell nothing."""

    def at(self, place: int) -> None:
        """Tell nothing."""

    def waits(self, pause: float, reason: str) -> None:
        """Tell nothing."""

    def notes(self, text: str) -> None:
        """Tell nothing."""

    def finished(self, name: str, url: str) -> None:  # noqa: ARG002 - others need it
        """Print the URL."""
        print(self.shown(url), flush=True)

    def failed(self, name: str, reason: str, *, passing: bool) -> None:
        """Print why."""
        hint = " (run it again to go on)" if passing else ""
        self.line(f"tusserver: {name}: {reason}{hint}")

    def shown(self, url: str) -> str:
        """Give a URL as it may be told."""
        return shown_url(url, query=self._query)

    def line(self, text: str) -> None:
        """Write one line on stderr; nothing in it can steer a terminal."""
        print(_printable(text), file=sys.stderr, flush=True)


class Bars(Quiet):
    """Tells everything on stderr, with a bar for each file if that is a terminal."""

    def __init__(self, endpoint: str) -> None:
        """Look at stderr."""
        super().__init__(endpoint)
        self._screen: TextIO | None = sys.stderr if sys.stderr.isatty() else None
        self._bar: tqdm[Any] | None = None
        self._name = ""
        self._size: int | None = None
        self._resumed = False
        tqdm.monitor_interval = 0  # No thread that looks after bars.

    def starts(self, name: str, size: int | None) -> None:
        """Keep what the bar will show."""
        self._name, self._size, self._resumed = name, size, False

    def resumes(self, url: str, offset: int, *, parts: int) -> None:  # noqa: ARG002
        """Tell it once, however many parts there are."""
        if parts > 1:
            if not self._resumed:
                self.notes(f"goes on with an earlier upload in {parts} parts")
        else:
            self.notes(f"goes on at byte {offset}")
        self._resumed = True

    def at(self, place: int) -> None:
        """Move the bar; the first place is where it starts, so that speed is what is sent now."""
        if self._screen is None:
            return
        if self._bar is None:
            name = _printable(self._name)
            columns = os.get_terminal_size(self._screen.fileno()).columns
            self._bar = tqdm(
                desc=name if len(name) <= _NAME else f"...{name[3 - _NAME :]}",
                total=self._size,
                initial=place,
                unit="B",
                unit_scale=True,
                file=self._screen,
                dynamic_ncols=columns > 0,
                ncols=None if columns else _COLUMNS,
                nrows=None if columns else _ROWS,
                bar_format=_UNKNOWN if self._size is None else _KNOWN,
            )
        self._bar.update(place - self._bar.n)

    def waits(self, pause: float, reason: str) -> None:
        """Tell why nothing moves."""
        self.notes(f"{reason}; tries again in {pause:.1f} s")

    def notes(self, text: str) -> None:
        """Write a line above the bar."""
        self.line(f"{self._name}: {text}" if self._name else text)

    def finished(self, name: str, url: str) -> None:
        """End the bar, print the URL."""
        self._end()
        super().finished(name, url)

    def failed(self, name: str, reason: str, *, passing: bool) -> None:
        """End the bar, print why."""
        self._end()
        super().failed(name, reason, passing=passing)

    def line(self, text: str) -> None:
        """Write a line where it does not disturb the bar."""
        if self._bar is None:
            super().line(text)
        else:
            tqdm.write(_printable(text), file=self._screen)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None


class JsonLines(Quiet):
    """Tells everything on standard output, one JSON object a line."""

    def __init__(self, endpoint: str) -> None:
        """Start with no file."""
        super().__init__(endpoint)
        self._file = ""
        self._size: int | None = None
        self._offset = 0
        self._told = 0.0

    def starts(self, name: str, size: int | None) -> None:
        """Event `start`."""
        self._file, self._size, self._offset, self._told = name, size, 0, time.monotonic()
        self._tell("start", size=size)

    def created(self, url: str, *, parts: int) -> None:
        """Event `create`."""
        self._tell("create", url=self.shown(url), parts=parts)

    def resumes(self, url: str, offset: int, *, parts: int) -> None:
        """Event `resume`."""
        self._tell("resume", url=self.shown(url), offset=offset, parts=parts)

    def at(self, place: int) -> None:
        """Event `progress`, not too often."""
        self._offset, now = place, time.monotonic()
        if now - self._told >= SECONDS:
            self._told = now
            self._tell("progress", offset=place, size=self._size)

    def waits(self, pause: float, reason: str) -> None:
        """Event `retry`."""
        self._tell("retry", seconds=round(pause, 1), reason=reason)

    def notes(self, text: str) -> None:
        """Event `note`."""
        self._tell("note", text=text)

    def finished(self, name: str, url: str) -> None:
        """Event `finish`."""
        self._file = name
        self._tell("finish", url=self.shown(url), size=self._offset)

    def failed(self, name: str, reason: str, *, passing: bool) -> None:
        """Event `fail`."""
        self._file = name
        self._tell("fail", reason=reason, temporary=passing)

    def _tell(self, event: str, **told: Any) -> None:
        print(json.dumps({"event": event, "file": self._file} | told), flush=True)


def _printable(text: str) -> str:
    """Give text without what could steer a terminal or break a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
