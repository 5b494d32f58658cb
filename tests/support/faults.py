"""Requests with exactly one fault each, and what they must be answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.raw import OFFSET_STREAM, Tus

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Fields

UNKNOWN = "0" * 32


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `make` prepares what it needs and writes the request with fields added."""

    name: str
    status: int
    code: str
    method: str
    make: Callable[[Tus, Fields], bytes]


def _on_upload(
    method: str, fields: Fields, body: bytes = b"", *, done: int = 3
) -> Callable[[Tus, Fields], bytes]:
    def make(tus: Tus, more: Fields) -> bytes:
        target = tus.create(10, body=bytes(done)) if done else tus.create(10)
        return tus.message(method, target, {**fields, **more}, body)

    return make


def _append(
    fields: Fields, body: bytes = b"abc", *, offset: int = 3
) -> Callable[[Tus, Fields], bytes]:
    usual = {"Upload-Offset": str(offset), "Content-Type": OFFSET_STREAM}
    return _on_upload("PATCH", {**usual, **fields}, body)


def _create(fields: Fields, body: bytes = b"") -> Callable[[Tus, Fields], bytes]:
    def make(tus: Tus, more: Fields) -> bytes:
        return tus.message("POST", None, {**fields, **more}, body)

    return make


def _on_unknown(method: str, body: bytes = b"") -> Callable[[Tus, Fields], bytes]:
    def make(tus: Tus, more: Fields) -> bytes:
        fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM} if body else {}
        return tus.message(method, tus.path + UNKNOWN, {**fields, **more}, body)

    return make


def _on_final(tus: Tus, more: Fields) -> bytes:
    part = tus.upload(b"part", {"Upload-Concat": "partial"})
    final = tus.post({"Upload-Concat": f"final;{part}"})
    target = tus.target(final.get("Location") or "")
    return tus.append_message(target, 4, b"", more)


def _put(tus: Tus, more: Fields) -> bytes:
    return tus.message("PUT", tus.create(10), {"Content-Length": "0", **more})


def _patch_without_upload(tus: Tus, more: Fields) -> bytes:
    return tus.append_message(tus.path, 0, b"abc", more)


def _get_unfinished(tus: Tus, more: Fields) -> bytes:
    return tus.message("GET", tus.create(10), more)


def _final_of_unknown(tus: Tus, more: Fields) -> bytes:
    return tus.message("POST", None, {"Upload-Concat": f"final;{tus.path}{UNKNOWN}", **more})


OLD = {"Tus-Resumable": "0.2.2"}

FAULTS = [
    Fault("POST of another version", 412, "version_unsupported", "POST",
          _create({**OLD, "Upload-Length": "1"})),
    Fault("HEAD of another version", 412, "version_unsupported", "HEAD",
          _on_upload("HEAD", OLD)),
    Fault("PATCH of another version", 412, "version_unsupported", "PATCH", _append(OLD)),
    Fault("PATCH of no version", 412, "version_unsupported", "PATCH",
          _append({"Tus-Resumable": None})),
    Fault("DELETE of another version", 412, "version_unsupported", "DELETE",
          _on_upload("DELETE", OLD)),
    Fault("HEAD on nothing", 404, "upload_not_found", "HEAD", _on_unknown("HEAD")),
    Fault("PATCH on nothing", 404, "upload_not_found", "PATCH", _on_unknown("PATCH", b"abc")),
    Fault("DELETE on nothing", 404, "upload_not_found", "DELETE", _on_unknown("DELETE")),
    Fault("GET on nothing", 404, "upload_not_found", "GET", _on_unknown("GET")),
    Fault("GET of half an upload", 404, "upload_not_found", "GET", _get_unfinished),
    Fault("PATCH on the creation URL", 405, "method_not_allowed", "PATCH",
          _patch_without_upload),
    Fault("PUT on an upload", 405, "method_not_allowed", "PUT", _put),
    Fault("PATCH of plain text", 415, "content_type_unsupported", "PATCH",
          _append({"Content-Type": "text/plain"})),
    Fault("PATCH of gzip", 415, "content_encoding_unsupported", "PATCH",
          _append({"Content-Encoding": "gzip"})),
    Fault("PATCH without offset", 400, "header_invalid", "PATCH",
          _append({"Upload-Offset": None})),
    Fault("POST without length", 400, "header_invalid", "POST", _create({})),
    Fault("POST of bad metadata", 400, "header_invalid", "POST",
          _create({"Upload-Length": "1", "Upload-Metadata": "a !!!"})),
    Fault("PATCH on a final upload", 403, "final_upload_immutable", "PATCH", _on_final),
    Fault("PATCH of an unknown digest", 400, "checksum_algorithm_unsupported", "PATCH",
          _append({"Upload-Checksum": "foo AAAA"})),
    Fault("PATCH of a wrong digest", 460, "checksum_mismatch", "PATCH",
          _append({"Upload-Checksum": "sha1 " + "A" * 27 + "="})),
    Fault("PATCH at another offset", 409, "offset_mismatch", "PATCH", _append({}, offset=4)),
    Fault("PATCH beyond the length", 413, "length_exceeded", "PATCH", _append({}, b"12345678")),
    Fault("POST beyond the length", 413, "length_exceeded", "POST",
          _create({"Upload-Length": "2", "Content-Type": OFFSET_STREAM}, b"abc")),
    Fault("PATCH of another expectation", 417, "expectation_failed", "PATCH",
          _append({"Expect": "200-ok"})),
    Fault("POST of an unknown part", 404, "part_not_found", "POST", _final_of_unknown),
]  # fmt: skip
