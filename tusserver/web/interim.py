"""Expectations and interim responses (floor 5).

Source: RFC 9110 section 10.1.1 (Expect) and 15.2.1 (100 Continue). aiohttp would send 100
before the handler runs; here it is sent after the checks, and a refusal comes instead of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web
from aiohttp.hdrs import EXPECT

from tusserver.errors import ExpectationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTINUED = web.RequestKey("tusserver.continued", bool)


async def hold_continue(request: web.Request) -> None:
    """Send nothing: an `expect_handler` of routes that call `send_continue` themselves."""
    del request


def check_expectation(request: web.BaseRequest) -> bool:
    """Tell whether the client waits for 100 Continue before it sends its body.

    An expectation of an HTTP/1.0 client is ignored, as the clause says.
    Raises: ExpectationFailed for any other expectation.
    """
    if request.version < HttpVersion11:
        return False
    if EXPECT not in request.headers:
        return False
    expectations = set(_expectations(request))
    if expectations - {"100-continue"}:
        raise ExpectationFailed
    return bool(expectations)


def refused_expectation(request: web.BaseRequest) -> ExpectationFailed | None:
    """Give the error of a request whose expectation nobody understands."""
    try:
        check_expectation(request)
    except ExpectationFailed as error:
        return error
    return None


def _expectations(request: web.BaseRequest) -> Iterator[str]:
    for line in request.headers.getall(EXPECT, ()):
        for expectation in line.split(","):
            if stripped := expectation.strip(" \t").lower():
                yield stripped


async def send_continue(request: web.BaseRequest) -> None:
    """Let a client that waits for it send its body; once, and only before the body comes.

    Never raises for a lost client. Written to the transport, not to the response's writer: so
    the count of the final response's bytes, and with it its framing, stays untouched.
    """
    try:
        waits = check_expectation(request)
    except ExpectationFailed:
        return
    if not waits or request.get(_CONTINUED) or _has_begun(request):
        return
    request[_CONTINUED] = True
    transport = request.transport
    if transport is not None and not transport.is_closing():
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _has_begun(request: web.BaseRequest) -> bool:
    """Tell whether the body has begun, or there is none to wait for."""
    content = request.content
    return content.total_bytes > 0 or content.is_eof()
