"""The choice of the dialect a request is spoken in: the only place that knows of several.

Floor 2, pure. Today tus 1.0 is the only one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tusserver.protocol.tus1 import Tus1

if TYPE_CHECKING:
    from collections.abc import Callable

    from tusserver.errors import TusError
    from tusserver.protocol.messages import Command, Features, Head, Reply, Result
    from tusserver.upload import UploadId


class Dialect(Protocol):
    """One way of saying commands, results and errors in HTTP."""

    def method(self, head: Head) -> str:
        """Give the method that a request means. Never raises."""

    def parse(self, head: Head, features: Features) -> Command:
        """Turn the head of a request into a command. Raises: TusError."""

    def reply(
        self,
        result: Result,
        *,
        features: Features,
        locate: Callable[[UploadId], str],
        head: Head,
    ) -> Reply:
        """Turn a result into a reply."""

    def fail(self, error: TusError, *, features: Features, head: Head) -> Reply:
        """Turn an error into a reply."""


_TUS1 = Tus1()


def choose_dialect(head: Head) -> Dialect:  # noqa: ARG001 - one dialect asks no question
    """Choose the dialect of a request.

    `Tus-Resumable` means tus 1.0, whatever else the request carries: iOS adds the fields of
    the IETF draft to every upload on its own. A request without it is one of tus 1.0 too.
    """
    return _TUS1
