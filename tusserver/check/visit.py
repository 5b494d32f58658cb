"""One visit to a server through its proxy, and what is learned on it (floor 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from tusserver.check import remedies
from tusserver.check.client import APPEND, TUS, Answer, Client, Unreachable
from tusserver.check.findings import Finding, Level, error, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

METADATA = "check MQ=="
FOREIGN_REFUSALS = frozenset({400, 403, 404, 405, 411, 501})
"""What proxies answer to a method or a header that they do not like."""


class Over(Exception):
    """Nothing more can be learned."""


@dataclass(slots=True)
class Visit:
    """What is known so far."""

    client: Client
    url: str
    findings: list[Finding] = field(default_factory=list)
    extensions: frozenset[str] = frozenset()
    lost_requests: set[str] = field(default_factory=set)
    """Headers that did not get to the server."""
    lost_responses: set[str] = field(default_factory=set)
    """Headers of the server that did not come back."""
    refused: dict[str, str] = field(default_factory=dict)
    """Methods that the proxy refuses, and its answers."""
    made: list[str] = field(default_factory=list)
    """The URLs of uploads that are to be removed."""

    def add(self, finding: Finding) -> None:
        """Note a finding, each only once."""
        if finding.code not in {known.code for known in self.findings}:
            self.findings.append(finding)

    async def create(self, length: int, headers: Mapping[str, str] | None = None) -> str:
        """Make an upload; give its URL. Raises: Over, when none can be made; Unreachable."""
        sent = {"Upload-Length": str(length), "Upload-Metadata": METADATA, **TUS, **(headers or {})}
        answer = await self.client.ask("POST", self.url, sent)
        if answer.status != HTTPStatus.CREATED:
            self._no_upload(answer)
        location = answer.headers.get("Location")
        self.expect_headers(answer, "Tus-Resumable", "Location")
        if location is None:
            raise Over
        found = self._check_location(location)
        self.made.append(found)
        return found

    def _no_upload(self, answer: Answer) -> None:
        """Say why no upload was made."""
        if answer.status in range(300, 400):
            self.redirected(answer)
        elif answer.code == "version_unsupported":
            self.lost_requests.add("Tus-Resumable")
        elif answer.code == "header_invalid" and "Upload-Length" in answer.text:
            self.lost_requests.add("Upload-Length")
        elif not answer.is_ours:
            self.refused["POST"] = answer.shown
        elif answer.code == "type_refused":
            self.typed()
        elif answer.status in {401, 403}:
            self.add(error("guarded", f"No upload can be made: {answer.shown}.", remedies.GUARDED))
        else:
            self.add(error("refused", f"No upload can be made: {answer.shown}.", remedies.REFUSED))
        raise Over

    def typed(self) -> None:
        """Note that only some kinds of files are taken, and that of the check is none of them."""
        text = "The server takes only some kinds of files: the proxy was not tried out."
        remedy = "for the time of the check, tusserver without --allowed-types and the like"
        self.add(warning("typed", text, remedy))

    def redirected(self, answer: Answer) -> None:
        """Note a redirect, which turns a POST into a GET and loses bodies."""
        target = urljoin(self.url, answer.headers.get("Location", ""))
        self.add(
            error(
                "redirect",
                f"{self.url} is redirected ({answer.status}) to {target}: clients would lose "
                "their bodies on the way.",
                remedies.REDIRECT,
            )
        )

    def _check_location(self, location: str) -> str:
        """Compare a Location with the URL that was asked; give the URL under which to go on."""
        asked, told = urlsplit(self.url), urlsplit(urljoin(self.url, location))
        base = asked.path.rstrip("/") + "/"
        wrong = [
            f"the {name} {new} instead of {old}"
            for name, old, new in (
                ("scheme", asked.scheme, told.scheme),
                ("host", asked.hostname or "", told.hostname or ""),
                ("port", str(_port(self.url)), str(_port(urljoin(self.url, location)))),
            )
            if old != new
        ]
        if wrong:
            text = f"Location is {location}: it names {' and '.join(wrong)}."
            self.add(error("location", text, remedies.LOCATION))
        if not told.path.startswith(base):
            text = f"Location is {location}, which is not below {base}."
            self.add(error("location_path", text, remedies.PATH))
        segment = told.path.rstrip("/").rpartition("/")[2]
        query = f"?{told.query}" if told.query else ""
        return f"{asked.scheme}://{asked.netloc}{base}{segment}{query}"

    def expect_headers(self, answer: Answer, *names: str) -> None:
        """Note which headers of the server did not come back."""
        self.lost_responses.update(name for name in names if name not in answer.headers)

    async def patch(
        self, url: str, offset: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Append bytes. Raises: Unreachable."""
        fields = {**APPEND, "Upload-Offset": str(offset), **(headers or {})}
        return await self.client.ask("PATCH", url, fields, body=body)

    async def offset(self, url: str) -> int:
        """Ask for an offset, 0 if it is not told."""
        return (await self.client.ask("HEAD", url)).offset or 0

    async def drop(self, url: str) -> None:
        """Remove an upload that is not needed any more; what cannot be now is tried again."""
        if (await self.client.ask("DELETE", url)).status in {204, 404}:
            self.made.remove(url)

    async def clean(self) -> None:
        """Remove the uploads that were made; this is how DELETE is tried, too."""
        left = []
        for url in self.made:
            try:
                answer = await self.client.ask("DELETE", url)
                if answer.status not in {204, 404} and not answer.is_ours:
                    self.refused["DELETE"] = answer.shown
                    override = {**TUS, "X-HTTP-Method-Override": "DELETE"}
                    answer = await self.client.ask("POST", url, override)
            except Unreachable:
                left.append(url)
                continue
            if answer.status not in {204, 404}:
                left.append(url)
        if left:
            text = f"{len(left)} small uploads could not be removed: {' '.join(left)}"
            self.add(warning("left_behind", text, "remove them: tusserver remove, or wait"))

    def conclude(self) -> list[Finding]:
        """Give what was found, with what was gathered on the way."""
        if self.refused:
            told = "; ".join(f"{method}: {answer}" for method, answer in self.refused.items())
            helps = remedies.OVERRIDE_HELPS if {"PATCH"} == set(self.refused) else ""
            text = f"Methods are refused on the way: {told}."
            self.add(error("methods", text, remedies.METHODS + helps))
        for code, names, way, remedy in (
            ("lost_request_headers", self.lost_requests, "to", remedies.LOST_REQUEST),
            ("lost_response_headers", self.lost_responses, "from", remedies.LOST_RESPONSE),
        ):
            if names:
                text = f"Headers are lost on the way {way} tusserver: {', '.join(sorted(names))}."
                self.add(error(code, text, remedy))
        if all(finding.level is Level.OK for finding in self.findings):
            self.findings.append(
                Finding(Level.OK, "proxy", f"{self.url} passes everything on as it must.")
            )
        return self.findings


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or {"https": 443}.get(parts.scheme, 80)
