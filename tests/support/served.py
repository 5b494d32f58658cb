"""A client of a server whose files can be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.raw import Tus
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.server import TusServer


class Served(Tus):
    """The tus verbs against a server of ours."""

    def __init__(self, server: TusServer) -> None:
        """Take a running server."""
        super().__init__(server.url)
        self.server = server

    def holds(self, target: str, data: bytes) -> bool:
        """Wait until the file of an upload begins with these bytes.

        A request would make the server commit, and end what is silent.
        """
        path = self.server.data_file(target)

        def look() -> bool:
            with path.open("rb") as file:
                return file.read(len(data)) == data

        return eventually(look)
