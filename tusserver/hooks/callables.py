"""Hooks as async callables of the application that the server is mounted in (floor 4)."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from tusserver.errors import HookFailed, TusError
from tusserver.ports import Decision, EventKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from tusserver.ports import Event

    Before: TypeAlias = Callable[[Event], Awaitable[Decision | None]]
    After: TypeAlias = Callable[[Event], Awaitable[None]]

logger = logging.getLogger(__name__)

LAST_STATUS = 599
"""The last status there is (RFC 9110 section 15)."""


class CallableHooks:
    """Calls what the application gave; what it did not give is never called.

    The `pre_*` callables decide: None lets the request go on unchanged. They run while the
    client waits, and while no other request may change the upload. A `TusError` that they raise,
    such as `Rejected`, is the answer to the client. Any callable that takes longer than `timeout`
    seconds is cancelled and has failed.
    """

    def __init__(
        self,
        *,
        pre_create: Before | None = None,
        post_create: After | None = None,
        post_receive: After | None = None,
        pre_finish: Before | None = None,
        post_finish: After | None = None,
        pre_terminate: Before | None = None,
        post_terminate: After | None = None,
        timeout: float = 15.0,
    ) -> None:
        """Take the callables; `timeout` is in seconds and holds for each call of each."""
        before = {
            EventKind.PRE_CREATE: pre_create,
            EventKind.PRE_FINISH: pre_finish,
            EventKind.PRE_TERMINATE: pre_terminate,
        }
        after = {
            EventKind.POST_CREATE: post_create,
            EventKind.POST_RECEIVE: post_receive,
            EventKind.POST_FINISH: post_finish,
            EventKind.POST_TERMINATE: post_terminate,
        }
        self._before = {kind: hook for kind, hook in before.items() if hook is not None}
        self._after = {kind: hook for kind, hook in after.items() if hook is not None}
        self._timeout = timeout

    def wants(self, kind: EventKind) -> bool:
        """Tell whether there is a callable for this kind of event."""
        return kind in self._before or kind in self._after

    async def before(self, event: Event) -> Decision:
        """Ask the callable; without one, everything goes on.

        Safe to cancel: the callable is cancelled with it. Raises: HookFailed when the callable
        raises, does not answer in time or gives no `Decision`; a TusError of its own as it is.
        """
        hook = self._before.get(event.kind)
        if hook is None:
            return Decision()
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return _checked(await hook(event))
        except TusError:
            raise
        except Exception as error:
            _log(event, self._failure(limit), error)
            raise HookFailed from error

    async def after(self, event: Event) -> None:
        """Tell the callable; without one, do nothing.

        Raises: HookFailed when the callable raises anything or takes too long.
        """
        hook = self._after.get(event.kind)
        if hook is None:
            return
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                await hook(event)
        except Exception as error:
            _log(event, self._failure(limit), error)
            raise HookFailed from error

    def _failure(self, limit: asyncio.Timeout) -> str:
        return f"took longer than {self._timeout:g} s" if limit.expired() else "failed"


def _checked(decision: Decision | None) -> Decision:
    """Refuse what would come out as a wrong answer to the client."""
    if decision is None:
        return Decision()
    if not isinstance(decision, Decision):
        raise TypeError(f"a hook gives a Decision or None, not {decision!r}")
    if decision.reject is not None:
        status = decision.reject[0]
        if not HTTPStatus.BAD_REQUEST <= status <= LAST_STATUS:
            raise ValueError(f"a hook rejects with a status from 400 to 599, not {status}")
    return decision


def _log(event: Event, what: str, error: Exception) -> None:
    upload_id = event.upload.upload_id
    logger.error("upload %s: the %s hook %s", upload_id, event.kind.value, what, exc_info=error)
