"""Checks of header fields and request targets (RFC 9110, RFC 9112)."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from conformance.check import (
    NotApplicable,
    check,
    expect,
    expect_field,
    expect_refusal,
    expect_status,
)
from conformance.evidence import expect_content, expect_offset, expect_untouched, finish, sample
from conformance.target import OFFSET_STREAM

if TYPE_CHECKING:
    from conformance.target import Target

CREATION = ("creation",)


@check("HTTP-01", needs=CREATION)
def field_names_have_no_case(tus: Target) -> None:
    """Names of fields count the same in small and in capital letters."""
    created = tus.post(
        fields={"Tus-Resumable": None, "tus-resumable": "1.0.0", "upload-length": "10"}
    )
    expect_status(created, 201)
    url = tus.resolve(created.get("Location") or "")
    small = {"upload-offset": "0", "content-type": OFFSET_STREAM}
    expect_status(tus.patch(url, small, b"hello"), 204, 200)
    large = {"UPLOAD-OFFSET": "5", "CONTENT-TYPE": OFFSET_STREAM, "TUS-Resumable": "1.0.0"}
    expect_status(tus.patch(url, large, b"world"), 204, 200)
    expect_content(tus, url, b"helloworld")


@check("HTTP-02", needs=CREATION)
def contradictory_offsets_are_refused(tus: Target) -> None:
    """Two different Upload-Offset lines, or Upload-Length lines, are 400 and change nothing."""
    url = tus.create(10)
    response = tus.patch(url, {"Upload-Offset": ["0", "5"]}, b"hello")
    expect_offset(tus, url, 0)
    expect_refusal(response)
    response = tus.patch(url, {"Upload-Offset": ["5", "0"]}, b"hello")
    expect_offset(tus, url, 0)
    expect_refusal(response)
    expect_refusal(tus.post(fields={"Upload-Length": ["10", "20"]}))


@check("HTTP-03", needs=CREATION)
def blanks_around_a_value_do_not_count(tus: Target) -> None:
    """Blanks and tabs around a value are no part of it."""
    url = tus.create(10)
    expect_status(tus.patch(url, {"Upload-Offset": "   0 \t "}, b"hello"), 204, 200)
    expect_offset(tus, url, 5)


@check("HTTP-10", needs=CREATION)
def http_1_0_works(tus: Target) -> None:
    """HTTP/1.0 requests are answered without chunks and without interim responses."""
    url = tus.create(10)
    fields = {"Upload-Offset": "0"}
    answers = [
        tus.request("PATCH", url, fields, b"hello", version="HTTP/1.0"),
        tus.request("HEAD", url, version="HTTP/1.0"),
        tus.request("HEAD", url, {"Connection": "keep-alive"}, version="HTTP/1.0"),
    ]
    expect_status(answers[0], 204, 200)
    for response in answers[1:]:
        expect_status(response, 200, 204)
        expect_field(response, "Upload-Offset", "5")
    for response in answers:
        expect(not response.all("Transfer-Encoding"), "expected no Transfer-Encoding", response)
        expect(not response.interim, "expected no interim response", response)


@check("HTTP-11", needs=CREATION)
def absolute_form_works(tus: Target) -> None:
    """A request target with scheme and host counts as its path."""
    url = tus.create(10)
    with tus.connect(url) as connection:
        fields = tus.fields("HEAD")
        response = connection.request("HEAD", url, fields)
    expect_status(response, 200, 204)
    expect_field(response, "Upload-Offset", "0")


@check("HTTP-12")
def options_of_the_server_is_answered(tus: Target) -> None:
    """OPTIONS * is a success or a refusal, no crash."""
    with tus.connect() as connection:
        response = connection.request("OPTIONS", "*")
    expect(response.status < 500 or response.status == 501, f"no {response.status}", response)


@check("HTTP-13", needs=CREATION)
def no_slash_is_answered_by_a_redirect(tus: Target) -> None:
    """A slash more or less at the end of a URL gets no redirect."""
    other = tus.url[:-1] if tus.url.endswith("/") else tus.url + "/"
    response = tus.post(other, {"Upload-Length": "10"})
    expect(not 300 <= response.status < 400, f"expected no redirect: {response.status}", response)
    response = tus.append(tus.create(10) + "/", 0, b"hello")
    expect(not 300 <= response.status < 400, f"expected no redirect: {response.status}", response)


@check("HTTP-14", needs=CREATION)
def encoded_paths_reach_no_other_file(tus: Target) -> None:
    """Dots, slashes, zero bytes and broken escapes in the path are refused, never a crash."""
    url = tus.create(10)
    base = tus.path(url).rpartition("/")[0]
    for name in ("%2e%2e%2fetc%2fpasswd", "..%2f..%2fx", "%00", "%zz", "%2e%2e", "a%00b", "%ff"):
        with tus.connect(url) as connection:
            target = f"{base}/{name}"
            response = connection.request("HEAD", target, tus.fields("HEAD"))
        expect(
            400 <= response.status < 500,
            f"expected a 4xx for {target}: {response.status}",
            response,
        )


@check("HTTP-15", needs=CREATION)
def a_query_does_no_harm(tus: Target) -> None:
    """An upload can be reached with a query behind its URL."""
    url = tus.create(10)
    sign = "&" if "?" in url else "?"
    response = tus.head(f"{url}{sign}token=abc")
    expect_status(response, 200, 204)
    expect_status(tus.append(f"{url}{sign}token=abc", 0, b"hello"), 204, 200)
    expect_offset(tus, url, 5)


@check("HTTP-16", needs=CREATION)
def a_request_without_host_is_400(tus: Target) -> None:
    """HTTP/1.1 without Host is 400."""
    expect_status(tus.head(tus.create(10), {"Host": None}), 400)


@check("HTTP-16", needs=CREATION)
def an_odd_host_does_not_get_out(tus: Target) -> None:
    """A Host with quotes, angle brackets or blanks is refused or does not show in Location."""
    odd = 'a"><script>.example'
    response = tus.post(fields={"Upload-Length": "10", "Host": odd})
    location = response.get("Location") or ""
    expect("<script>" not in location and '"' not in location, "expected it escaped", response)
    expect(response.status < 500, f"expected no {response.status}", response)


@check("HTTP-17", needs=CREATION)
def compressed_bodies_are_stored_as_sent(tus: Target) -> None:
    """A body with Content-Encoding: gzip is stored as it is, or refused by 415."""
    data = gzip.compress(bytes(1000), mtime=0)
    url = tus.create(len(data))
    try:
        response = tus.append(url, 0, data, {"Content-Encoding": "gzip"})
    finally:
        offset = tus.offset(url)
    if response.status >= 400:
        expect_status(response, 415, 400)
        expect_untouched(tus, url, data, 0)
        return
    expect(offset == len(data), f"expected the offset {len(data)}, got {offset}", response)
    expect_content(tus, url, data)


@check("HTTP-23")
def missing_credentials_are_told_before_the_body(tus: Target) -> None:
    """Without the credentials of this run a creation is 401 or 403, before its body is read."""
    if not tus.settings.headers:
        raise NotApplicable("the run has no --header with credentials")
    without = dict.fromkeys(tus.settings.headers)
    fields = {"Upload-Length": "1000", "Content-Length": "1000", "Content-Type": OFFSET_STREAM}
    with tus.connect() as connection:
        connection.send(tus.raw("POST", None, {**fields, **without}))
        response = connection.read_response("POST", timeout=3.0)
    expect_status(response, 401, 403)
    expect_field(response, "Tus-Resumable", "1.0.0")


@check("HTTP-24")
def a_long_url_is_refused(tus: Target) -> None:
    """A URL of 20,000 characters is refused by 4xx."""
    response = tus.head(tus.url.rstrip("/") + "/" + "a" * 20_000)
    expect_refusal(response)


@check("HTTP-25", needs=CREATION)
def a_large_body_is_taken(tus: Target) -> None:
    """A PATCH of 8 MiB is not stopped by a limit that a framework has for forms."""
    limit = tus.announced.max_size
    size = 8 * 1024 * 1024 if limit is None else min(limit, 8 * 1024 * 1024)
    data = sample(size)
    url = tus.create(size)
    expect_status(tus.append(url, 0, data), 204, 200)
    expect_content(tus, url, data)


@check("CLI-05", needs=CREATION)
def fields_of_the_draft_change_nothing(tus: Target) -> None:
    """Upload-Complete, added by the system under TUSKit, leaves a tus 1.0 request what it is."""
    url = tus.create(10)
    draft = {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"}
    response = tus.append(url, 0, b"hello", draft)
    expect_status(response, 204)
    expect_field(response, "Upload-Offset", "5")
    finish(tus, url, b"helloworld", 5)


@check("CLI-03", needs=CREATION)
def tuspy_uploads(tus: Target) -> None:
    """Small letters and an empty upload-metadata, as tuspy sends them, make an upload."""
    fields = {"Tus-Resumable": None, "tus-resumable": "1.0.0"}
    made = tus.post(fields={**fields, "upload-length": "10", "upload-metadata": ""})
    expect_status(made, 201)
    url = tus.resolve(made.get("Location") or "")
    kind = {"content-type": OFFSET_STREAM, "upload-offset": "0"}
    response = tus.patch(url, {**fields, **kind}, b"helloworld")
    expect_status(response, 204)
    expect_field(response, "Upload-Offset", "10")


@check("CLI-01", needs=CREATION)
def tus_js_client_resumes(tus: Target) -> None:
    """What tus-js-client reads to resume is there: offset and length of HEAD, offset of PATCH."""
    url = tus.create(10)
    expect_field(tus.append(url, 0, b"hello"), "Upload-Offset", "5")
    response = tus.head(url)
    expect(200 <= response.status < 300, f"expected a success, got {response.status}", response)
    expect_field(response, "Upload-Offset", "5")
    expect_field(response, "Upload-Length", "10")
    finish(tus, url, b"helloworld", 5)


@check("CLI-02", needs=("creation", "concatenation"))
def tus_js_client_uploads_in_parallel(tus: Target) -> None:
    """Partial uploads become one by absolute URLs with one blank between them."""
    parts = (b"hello", b" ", b"world")
    urls = [tus.create(len(part), {"Upload-Concat": "partial"}) for part in parts]
    for url, part in zip(urls, parts, strict=True):
        expect_status(tus.append(url, 0, part), 204, 200)
    final = tus.post(fields={"Upload-Concat": f"final;{' '.join(urls)}"})
    expect_status(final, 201)
    expect_content(tus, tus.resolve(final.get("Location") or ""), b"hello world")
