"""Checks of X-HTTP-Method-Override (tus 1.0.0, Core Protocol, Headers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import check, expect, expect_field, expect_status
from conformance.evidence import expect_offset, finish, sample
from conformance.target import OFFSET_STREAM
from conformance.wire import chunked

if TYPE_CHECKING:
    from conformance.target import Target

CREATION = ("creation",)
NAME = "X-HTTP-Method-Override"


@check("CORE-MO-01", needs=CREATION)
def a_post_can_be_a_patch(tus: Target) -> None:
    """POST with the override PATCH appends."""
    data = sample(10)
    url = tus.create(10)
    fields = {NAME: "PATCH", "Upload-Offset": "0", "Content-Type": OFFSET_STREAM}
    response = tus.post(url, fields, data[:5])
    expect_status(response, 204)
    expect_field(response, "Upload-Offset", "5")
    finish(tus, url, data, 5)


@check("CORE-MO-02", needs=CREATION)
def a_get_can_be_a_head(tus: Target) -> None:
    """GET with the override HEAD tells the offset."""
    url = tus.create(10)
    expect_status(tus.append(url, 0, b"hello"), 204)
    response = tus.get(url, {NAME: "HEAD"})
    expect_status(response, 200, 204)
    expect_field(response, "Upload-Offset", "5")


@check("CORE-MO-02", needs=("creation", "termination"))
def a_patch_can_be_a_delete(tus: Target) -> None:
    """PATCH with the override DELETE removes the upload."""
    url = tus.create(10)
    response = tus.patch(url, {NAME: "DELETE", "Upload-Offset": "0"}, b"")
    expect_status(response, 204)
    expect_status(tus.head(url), 404, 410, 403)


@check("CORE-MO-03", needs=("creation", "termination"))
def a_post_can_be_a_delete(tus: Target) -> None:
    """POST with the override DELETE is 204 and removes the upload."""
    url = tus.create(10)
    expect_status(tus.post(url, {NAME: "DELETE"}), 204)
    expect_status(tus.head(url), 404, 410, 403)


@check("CORE-MO-03", needs=CREATION)
def a_post_can_be_a_head(tus: Target) -> None:
    """POST with the override HEAD has the fields of HEAD."""
    url = tus.create(10)
    response = tus.post(url, {NAME: "HEAD"})
    expect_status(response, 200, 204)
    expect_field(response, "Upload-Offset", "0")
    expect_field(response, "Upload-Length", "10")


@check("CORE-MO-04", needs=CREATION)
def an_unknown_override_is_refused(tus: Target) -> None:
    """POST with the override FOO is 400, 405 or 501; with patch in small letters also 204."""
    url = tus.create(10)
    expect_status(tus.post(url, {NAME: "FOO"}), 400, 404, 405, 501)
    expect_offset(tus, url, 0)
    fields = {NAME: "patch", "Upload-Offset": "0", "Content-Type": OFFSET_STREAM}
    expect_status(tus.post(url, fields, b"hello"), 204, 400, 404, 405, 501)


@check("CORE-MO-05", "CLI-04", needs=CREATION)
def tus_java_client_appends(tus: Target) -> None:
    """POST with the override PATCH, Expect: 100-continue and a chunked body is 204."""
    data = sample(3000)
    url = tus.create(3000)
    fields = {
        NAME: "PATCH",
        "Upload-Offset": "0",
        "Content-Type": OFFSET_STREAM,
        "Expect": "100-continue",
        "Transfer-Encoding": "chunked",
    }
    with tus.connect(url) as connection:
        connection.send(tus.raw("POST", url, fields))
        connection.is_readable(1.0)
        connection.send(chunked(data[:1000], data[1000:2000]))
        response = connection.read_response("PATCH")
    expect_status(response, 204)
    expect_field(response, "Upload-Offset", "2000")
    expect(len(response.interim) <= 1, "expected one interim response at most", response)
    finish(tus, url, data, 2000)
