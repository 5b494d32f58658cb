"""One line in the log for each request, and its place in the metrics (floor 5).

A request has an id: the one that a client or proxy gave it in `X-Request-ID`, if that is short
and plain, else one made here. It stands in the answer and in every log record of the request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from multidict import istr

from tusserver.account import Account, open_account
from tusserver.logs import log_request
from tusserver.protocol.messages import Appended, Created, Described
from tusserver.web.arrival import peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from aiohttp import web

    from tusserver.errors import TusError
    from tusserver.measures import Meter
    from tusserver.protocol.messages import Result

    Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Accounted: TypeAlias = Callable[[web.Request, Account], Awaitable[web.StreamResponse]]

logger = logging.getLogger("tusserver.access")

REQUEST_ID = istr("X-Request-ID")
CLIENT_GONE = 499
"""Stands for the status of a request whose handler was cancelled: nothing was answered."""

_PLAIN = re.compile(r"[A-Za-z0-9._:/+=@-]{1,64}")
_ID_BYTES = 8
_AT_ONCE = 64
"""Ids that are made together: asking the system for randomness costs more than an id."""


def counted(handler: Accounted, meter: Meter, *, every_request: bool) -> Handler:
    """Give a handler which keeps account of each request that it hands to this one.

    Requests are logged when they are over; those that the server answered well only if
    `every_request` is.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        account = Account(
            request_id=_request_id(request), method=request.method, path=request.rel_url.raw_path
        )
        open_account(account)
        start, status = time.perf_counter(), 500
        try:
            response = await handler(request, account)
            status = response.status
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            seconds = time.perf_counter() - start
            _count(meter, account, status, seconds)
            if every_request or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                _log(account, request, status, seconds)
        return response

    return handle


def _request_id(request: web.Request) -> str:
    if REQUEST_ID in request.headers:
        given = request.headers.getall(REQUEST_ID)
        if len(given) == 1 and _PLAIN.fullmatch(given[0]) is not None:
            return given[0]
    if not _ids:
        digits = secrets.token_hex(_ID_BYTES * _AT_ONCE)
        _ids.extend(re.findall("." * 2 * _ID_BYTES, digits))
    return _ids.pop()


_ids: list[str] = []
# Another process must not give the same ones.
os.register_at_fork(after_in_child=_ids.clear)


# --- what the handler finds out -----------------------------------------------------------


def note_result(account: Account, result: Result) -> None:
    """Note what came of a request."""
    if isinstance(result, Created | Appended | Described):
        account.upload_id = result.upload.upload_id
        account.owner = result.upload.owner
        # HEAD may tell more than the record that it read: an append goes on meanwhile.
        told = result if isinstance(result, Described) else result.upload
        account.offset_after = told.offset


def note_error(account: Account, error: TusError) -> None:
    """Note which error is answered."""
    account.error, account.reason = error.code, error.message


# --- what is made of it -------------------------------------------------------------------


def _count(meter: Meter, account: Account, status: int, seconds: float) -> None:
    meter.request_ended(account.method, status, seconds)
    if account.error:
        meter.request_failed(account.error)
    if account.sent:
        meter.bytes_sent(account.sent)


def _log(account: Account, request: web.Request, status: int, seconds: float) -> None:
    is_fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    level = logging.WARNING if is_fault else logging.INFO
    if not logger.isEnabledFor(level):
        return
    remote = account.remote
    fields: dict[str, str | int | float] = {
        "remote": peer_of(request) if remote is None else remote,
        "seconds": round(seconds, 6),
    }
    _add_details(fields, account)
    if account.reason and (is_fault or logger.isEnabledFor(logging.DEBUG)):
        fields["reason"] = account.reason
    asked = account.method, account.path, status
    log_request(logger, level, account.request_id, asked, fields)


def _add_details(fields: dict[str, str | int | float], account: Account) -> None:
    """Add what was noted, without what there is not."""
    if account.upload_id:
        fields["upload"] = account.upload_id
    if account.owner:
        fields["owner"] = account.owner
    if account.error:
        fields["error"] = account.error
    before = account.offset_before
    if before is not None:
        fields["offset_before"] = before
    if account.offset_after is not None:
        fields["offset"] = account.offset_after
    if account.sent:
        fields["sent"] = account.sent
    body = account.body
    if body is not None and before is not None:
        fields["received"] = body.received
        if body.end is not None:
            fields["end"] = body.end.value
