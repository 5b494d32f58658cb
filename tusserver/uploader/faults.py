"""How an upload can fail, as far as it matters for what comes next (floor 5)."""

from __future__ import annotations


class UploadFault(Exception):
    """The root: one plain sentence without secrets."""


class Refused(UploadFault):
    """Trying again makes no sense."""


class Unsupported(UploadFault):
    """The server does not do what was asked for: the arguments are wrong for it."""


class Vanished(UploadFault):
    """The server no longer has the upload."""


class TooLarge(Refused):
    """The request is too large for the server, or for something in front of it."""


class Trouble(UploadFault):
    """It may pass; `retry_after` is what the server asks for, in seconds."""

    def __init__(self, text: str, *, retry_after: float = 0.0) -> None:
        """Say what went wrong."""
        super().__init__(text)
        self.retry_after = retry_after
