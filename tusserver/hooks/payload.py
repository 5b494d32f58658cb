"""The JSON of webhooks, as tusd v2 writes and reads it (floor 4; docs/hooks.md).

Names and capitals are those of tusd's HookRequest and HookResponse. What is ours stands in one
more object, `Tusserver`, which a receiver written for tusd does not look at. Names in answers are
compared without case, as Go's decoder does: a refusal must not be lost for a capital.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tusserver.ports import Decision, EventKind
from tusserver.protocol.headers import format_metadata, parse_metadata
from tusserver.upload import Kind, UploadId, is_upload_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from tusserver.ports import Event, RequestInfo
    from tusserver.upload import Upload

CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that prove who somebody is: not stored unless the operator names them."""
URLS = frozenset(
    {"upload-concat", "referer", "x-original-uri", "x-original-url", "x-forwarded-uri"}
)
"""Headers with URLs: their queries, which may prove who somebody is, are not stored either."""
_QUERY = re.compile(r"\?\S*")
LAST_STATUS = 599
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
REFUSED = "The application refused this."
STOPPED = "The application stopped this upload."


class AnswerMalformed(ValueError):
    """What a receiver answered is not a HookResponse; the reason is for the operator."""


# --- what is sent -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes events down."""

    places: Callable[[UploadId], tuple[Path, Path]]
    """Gives the data file of an upload and the file of its record."""
    kept: Collection[str] = ()
    """Credentials, in lower case, that events after the fact keep."""

    def write(self, event: Event) -> bytes:
        """Give the JSON of an event. Only questions carry all credentials: nothing stores them."""
        asks = event.kind.value.startswith("pre-")
        is_new = event.kind is EventKind.PRE_CREATE
        upload = event.upload
        message = {
            "Type": event.kind.value,
            "Event": {
                "Upload": self._upload(upload, is_new=is_new),
                "HTTPRequest": self._request(event.request, whole=asks),
            },
            "Tusserver": {
                "EventID": event.event_id,
                "UploadID": upload.upload_id,
                "Owner": upload.owner,
                "Digest": upload.digest,
                "Published": event.published,
            },
        }
        return json.dumps(message, separators=(",", ":")).encode()

    def _upload(self, upload: Upload, *, is_new: bool) -> dict[str, Any]:
        told = parse_metadata(upload.metadata)
        data, record = self.places(upload.upload_id)
        storage = {"Type": "filestore", "Path": str(data), "InfoPath": str(record)}
        return {
            "ID": "" if is_new else upload.upload_id,
            "Size": upload.length or 0,
            "SizeIsDeferred": upload.length is None,
            "Offset": upload.offset,
            "MetaData": {key: value.decode("utf-8", "replace") for key, value in told.items()},
            "IsPartial": upload.kind is Kind.PARTIAL,
            "IsFinal": upload.kind is Kind.FINAL,
            "PartialUploads": list(upload.parts) or None,
            "Storage": None if is_new else storage,
        }

    def _request(self, request: RequestInfo | None, *, whole: bool) -> dict[str, Any]:
        if request is None:
            return {"Method": "", "URI": "", "RemoteAddr": "", "Header": {}}
        uri = request.uri
        if not whole and request.caller.credential:
            uri = uri.partition("?")[0]
        fields: dict[str, list[str]] = {}
        for name, value in request.headers:
            lower = name.lower()
            if whole or lower not in CREDENTIALS or lower in self.kept:
                is_bare = not whole and lower in URLS and lower not in self.kept
                told = _QUERY.sub("", value) if is_bare else value
                fields.setdefault(canonical(name), []).append(_printable(told))
        return {
            "Method": request.method,
            "URI": _printable(uri),
            "RemoteAddr": request.remote,
            "Header": fields,
        }


def canonical(name: str) -> str:
    """Write the name of a header as Go does: Tus-Resumable."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def forwarded(request: RequestInfo | None, names: Iterable[str]) -> list[tuple[str, str]]:
    """Give the named headers of a client's request."""
    wanted = {name.lower(): name for name in names}
    found = () if request is None else request.headers
    return [
        (wanted[name.lower()], _printable(value))
        for name, value in found
        if name.lower() in wanted and value.isprintable()
    ]


def _printable(value: str) -> str:
    """Give text as valid Unicode: bytes of a header that are none come as U+FFFD."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# --- what comes back ----------------------------------------------------------------------


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class _HttpResponse(_Answer):
    statuscode: int | None = None
    body: str | None = None
    header: dict[str, str] | None = None

    @property
    def text(self) -> str | None:
        """Give the body for the client, if there is one, as valid Unicode."""
        return (self.body or "").encode("utf-8", "replace").decode() or None

    @property
    def headers(self) -> dict[str, str]:
        """Give the headers for the client. Raises: AnswerMalformed."""
        for name, value in (self.header or {}).items():
            if _NAME.fullmatch(name) is None or not value.isprintable():
                raise AnswerMalformed("HTTPResponse.Header: not a header")
        return self.header or {}


class _Changes(_Answer):
    id: str | None = None
    metadata: dict[str, str] | None = None
    storage: dict[str, str] | None = None


class Response(_Answer):
    """A HookResponse."""

    httpresponse: _HttpResponse | None = None
    rejectupload: bool | None = None
    rejecttermination: bool | None = None
    stopupload: bool | None = None
    changefileinfo: _Changes | None = None

    @property
    def http(self) -> _HttpResponse:
        """Give what is said of the answer to the client, be it nothing."""
        return self.httpresponse or _HttpResponse()

    @property
    def ignored(self) -> tuple[str, ...]:
        """Name what is asked for and cannot be done."""
        changes = self.changefileinfo or _Changes()
        wrong_id = bool(changes.id) and not is_upload_id(changes.id or "")
        named = {"ChangeFileInfo.ID": wrong_id, "ChangeFileInfo.Storage": bool(changes.storage)}
        return tuple(name for name, is_there in named.items() if is_there)


def read_response(body: bytes) -> Response:
    """Read a HookResponse. Raises: AnswerMalformed."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise AnswerMalformed("it is not JSON") from None
    if not isinstance(value, dict):
        raise AnswerMalformed("it is not a JSON object")
    known = _lower(value)
    for name in ("httpresponse", "changefileinfo"):
        if isinstance(known.get(name), dict):
            known[name] = _lower(known[name])
    try:
        return Response.model_validate(known)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise AnswerMalformed(f"{place}: {fault['msg']}") from None


def _lower(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): entry for name, entry in value.items()}


def decide(kind: EventKind, response: Response) -> Decision:
    """Give what a receiver decided. Raises: AnswerMalformed."""
    http, changes = response.http, response.changefileinfo or _Changes()
    status = http.statuscode or 0
    refuses = response.rejecttermination if kind is EventKind.PRE_TERMINATE else None
    if kind is not EventKind.PRE_TERMINATE:
        refuses = response.rejectupload
    if refuses or status >= HTTPStatus.BAD_REQUEST:
        return Decision(reject=(_refusal(status), REFUSED), headers=http.headers, body=http.text)
    new_id, metadata = changes.id or "", None
    if kind is EventKind.PRE_CREATE and changes.metadata is not None:
        metadata = _metadata(changes.metadata)
    return Decision(
        metadata=metadata,
        upload_id=UploadId(new_id) if is_upload_id(new_id) else None,
        headers=http.headers,
        body=http.text,
    )


def _metadata(told: Mapping[str, str]) -> dict[str, bytes]:
    metadata = {key: value.encode("utf-8", "replace") for key, value in told.items()}
    try:
        format_metadata(metadata)
    except ValueError as error:
        raise AnswerMalformed(f"ChangeFileInfo.MetaData: {error}") from None
    return metadata


def stop_of(response: Response) -> Decision | None:
    """Give how a client is told that its upload was stopped; None if it goes on."""
    if not response.stopupload:
        return None
    http = response.http
    refusal = (_refusal(http.statuscode or 0), STOPPED)
    return Decision(reject=refusal, headers=http.headers, body=http.text)


def _refusal(status: int) -> int:
    """Give a status that refuses: a client must not take a refusal for success."""
    return status if HTTPStatus.BAD_REQUEST <= status <= LAST_STATUS else HTTPStatus.BAD_REQUEST


def write_decision(decision: Decision) -> str:
    """Write down how a client is told that its upload was stopped."""
    return json.dumps([decision.reject, dict(decision.headers), decision.body])


def read_decision(text: str) -> Decision:
    """Read what `write_decision` wrote."""
    (status, sentence), headers, body = json.loads(text)
    return Decision(reject=(status, sentence), headers=headers, body=body)
