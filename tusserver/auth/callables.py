"""The application's own login, asked by a coroutine function (floor 4)."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

from tusserver.caller import Caller, is_media_range, is_owner
from tusserver.errors import HookFailed, TusError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from tusserver.gates import AccessRequest

    Authorize: TypeAlias = Callable[[AccessRequest], Awaitable[Caller | None]]

logger = logging.getLogger(__name__)

_QUERY = re.compile(r"[!-\"$-+\--~]*")
"""What a query may hold; no comma and no blank, which end URLs in lists of parts."""


class CallableAuthorizer:
    """Asks the application about every request, while the client waits."""

    needs_upload = True

    def __init__(self, authorize: Authorize, *, timeout: float = 15.0) -> None:
        """Take the coroutine function; `timeout` is in seconds and holds for each call."""
        self._authorize = authorize
        self._timeout = timeout

    def carries(self, access: AccessRequest) -> bool:
        """Tell that it wants to be asked: only the application knows its credentials."""
        del access
        return True

    async def authorize(self, access: AccessRequest) -> Caller:
        """Ask; None is nobody.

        Safe to cancel: the callable is cancelled with it. Raises: Unauthenticated; a TusError of
        the application's own as it is; HookFailed when the callable raises anything else, takes
        too long or gives no caller: nothing passes by accident.
        """
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                caller = _checked(await self._authorize(access))
        except TusError:
            raise
        except Exception as error:
            took = f"took longer than {self._timeout:g} s" if limit.expired() else "failed"
            logger.error("authorize %s for a %s", took, access.action.value, exc_info=error)  # noqa: TRY400 - the trace is given
            raise HookFailed("The application could not be asked who you are.") from error
        if caller is None:
            raise Unauthenticated
        return caller


def _checked(caller: Caller | None) -> Caller | None:
    """Refuse what could not be kept, or would come out as a wrong answer."""
    if caller is None:
        return None
    if not isinstance(caller, Caller):
        raise TypeError(f"authorize gives a Caller or None, not {caller!r}")
    if caller.owner is not None and not is_owner(caller.owner):
        raise ValueError("an owner has at most 256 bytes and no control characters")
    if caller.grant:
        raise ValueError("grants come from signed URLs: leave grant empty")
    if caller.max_size is not None and caller.max_size < 0:
        raise ValueError("a size is not negative")
    if not all(map(is_media_range, caller.types)):
        raise ValueError("types are written as image/png or image/*")
    if _QUERY.fullmatch(caller.credential) is None:
        raise ValueError("a credential is a query string: encode it")
    return caller
