"""What is noted about one request while it is served, for the log (floor 3).

The rooms that serve a request write down what they find out; whoever logs reads it. The
account of the present request is a context variable: tasks that a request starts inherit it,
so that their log records carry the request's id too.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tusserver.body import BodyEnd


class Arriving(Protocol):
    """A body that counts what came of it."""

    @property
    def received(self) -> int:
        """Give the bytes that arrived so far."""

    @property
    def end(self) -> BodyEnd | None:
        """Tell why the body ended; None while it has not."""


@dataclass(slots=True, kw_only=True)
class Account:
    """Notes about one request; nothing in it is a credential, a header or a file's name."""

    request_id: str
    method: str
    """The method that holds: an override counts."""
    path: str
    """The path as it was sent, without the query, which may be a credential."""
    remote: str | None = None
    """Who the client is; None before that was looked at."""
    upload_id: str = ""
    owner: str = ""
    offset_before: int | None = None
    """What was committed before the body; None for a request that appended nothing."""
    offset_after: int | None = None
    """What is committed after the request, as far as it looked."""
    body: Arriving | None = None
    """The upload data that the request brought, if it is one that brings some."""
    sent: int = 0
    """Bytes of a download that were handed to the system."""
    error: str = ""
    """The code of the error that was answered."""
    reason: str = ""
    """That error in words, which may quote what an application's hook said."""


_CURRENT: ContextVar[Account | None] = ContextVar("tusserver_account", default=None)


def current_account() -> Account | None:
    """Give the account of the request that is being served here; None outside of one."""
    return _CURRENT.get()


def open_account(account: Account) -> None:
    """Make this the account of the present task, and of the tasks that it will start."""
    _CURRENT.set(account)


def note_append(before: int, after: int) -> None:
    """Note the committed offsets before and after the body of the present request."""
    account = _CURRENT.get()
    if account is not None:
        account.offset_before, account.offset_after = before, after


def note_sent(count: int) -> None:
    """Count bytes that were sent to the client of the present request."""
    account = _CURRENT.get()
    if account is not None:
        account.sent += count
