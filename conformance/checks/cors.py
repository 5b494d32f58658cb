"""Checks of what pages of another origin need (Fetch standard, CORS protocol).

A server that answers no preflight with CORS fields leaves CORS to somebody else, by choice;
the checks are then not applicable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_status
from conformance.evidence import unknown

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Response

CREATION = ("creation",)
ALLOW = "Access-Control-Allow-Origin"
SENT = (
    "Authorization",
    "Content-Type",
    "X-Requested-With",
    "X-Request-ID",
    "X-HTTP-Method-Override",
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Metadata",
)
SENT_BY = {
    "creation-defer-length": ("Upload-Defer-Length",),
    "concatenation": ("Upload-Concat",),
    "checksum": ("Upload-Checksum",),
}
READ = ("Location", "Upload-Offset", "Upload-Length", "Upload-Metadata", "Tus-Resumable")
READ_BY = {
    "creation-defer-length": ("Upload-Defer-Length",),
    "concatenation": ("Upload-Concat",),
    "expiration": ("Upload-Expires",),
}


def _preflight(tus: Target, method: str, url: str | None = None, headers: str = "") -> Response:
    fields = {
        "Origin": tus.settings.origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers or "tus-resumable",
    }
    return tus.options(url, {**dict.fromkeys(tus.settings.headers), **fields})


def _need_cors(tus: Target) -> None:
    if not _preflight(tus, "POST").all(ALLOW):
        raise NotApplicable("a preflight gets no Access-Control-Allow-Origin: no CORS here")


def _expect_allowed(tus: Target, response: Response) -> None:
    value = response.get(ALLOW)
    expect(
        value in {"*", tus.settings.origin},
        f"expected {ALLOW}: {tus.settings.origin} or *, got {value!r}",
        response,
    )


@check("CORS-01")
def a_preflight_allows_the_methods(tus: Target) -> None:
    """A preflight is 200 or 204 and allows POST, HEAD, PATCH and DELETE."""
    _need_cors(tus)
    for method in ("POST", "HEAD", "PATCH", *(["DELETE"] if tus.has("termination") else [])):
        response = _preflight(tus, method)
        expect_status(response, 200, 204)
        _expect_allowed(tus, response)
        allowed = response.listed("Access-Control-Allow-Methods")
        simple = method in {"POST", "HEAD"}  # allowed without being named
        expect(
            simple or method.lower() in allowed or "*" in allowed,
            f"expected {method} in Access-Control-Allow-Methods, got {sorted(allowed)}",
            response,
        )


@check("CORS-01", needs=CREATION)
def a_preflight_of_an_upload_works(tus: Target) -> None:
    """A preflight for PATCH on an upload is 200 or 204 and allows it."""
    _need_cors(tus)
    response = _preflight(tus, "PATCH", tus.create(10))
    expect_status(response, 200, 204)
    _expect_allowed(tus, response)


@check("CORS-02")
def a_preflight_allows_the_fields(tus: Target) -> None:
    """Every field that clients send is allowed."""
    _need_cors(tus)
    wanted = [*SENT]
    for extension, names in SENT_BY.items():
        wanted += names if tus.has(extension) else ()
    response = _preflight(tus, "PATCH", headers=",".join(sorted(name.lower() for name in wanted)))
    allowed = response.listed("Access-Control-Allow-Headers")
    star = "*" in allowed and response.get("Access-Control-Allow-Credentials") != "true"
    missing = [
        name
        for name in wanted
        if name.lower() not in allowed and not (star and name != "Authorization")
    ]
    expect(not missing, f"expected {', '.join(missing)} in Access-Control-Allow-Headers", response)


@check("CORS-03", needs=CREATION)
def answers_expose_the_fields(tus: Target) -> None:
    """Every field that a page has to read is exposed by the answers to POST, HEAD and PATCH."""
    _need_cors(tus)
    origin = {"Origin": tus.settings.origin}
    created = tus.post(fields={"Upload-Length": "10", **origin})
    url = tus.resolve(created.get("Location") or "")
    wanted = [*READ]
    for extension, names in READ_BY.items():
        wanted += names if tus.has(extension) else ()
    for response in (created, tus.head(url, origin), tus.append(url, 0, b"hello", origin)):
        _expect_allowed(tus, response)
        exposed = response.listed("Access-Control-Expose-Headers")
        star = "*" in exposed and response.get("Access-Control-Allow-Credentials") != "true"
        missing = [name for name in wanted if name.lower() not in exposed and not star]
        absent = ", ".join(missing)
        expect(not missing, f"expected {absent} in Access-Control-Expose-Headers", response)


@check("CORS-04", needs=CREATION)
def refusals_can_be_read(tus: Target) -> None:
    """Refusals (404, 409, 412, 415, 400) carry the CORS fields too."""
    _need_cors(tus)
    url, origin = tus.create(10), {"Origin": tus.settings.origin}
    refusals = [
        tus.head(unknown(tus), origin),
        tus.append(url, 3, b"lo", origin),
        tus.append(url, 0, b"hello", {"Tus-Resumable": "0.2.2", **origin}),
        tus.append(url, 0, b"hello", {"Content-Type": "text/plain", **origin}),
        tus.post(fields={"Upload-Length": "-1", **origin}),
    ]
    for response in refusals:
        expect(response.status >= 400, f"expected a refusal, got {response.status}", response)
        _expect_allowed(tus, response)


@check("CORS-05")
def an_echoed_origin_varies(tus: Target) -> None:
    """Vary names Origin where the origin is given back; a star never meets credentials."""
    _need_cors(tus)
    fields = {"Origin": tus.settings.origin}
    for response in (_preflight(tus, "POST"), tus.head(unknown(tus), fields)):
        value = response.get(ALLOW)
        if value == "*":
            credentials = response.get("Access-Control-Allow-Credentials")
            expect(credentials is None, "expected no credentials beside the star", response)
        elif value is not None:
            varies = response.listed("Vary")
            expect(varies & {"origin", "*"}, "expected Vary: Origin", response)


@check("CORS-06")
def a_foreign_origin_gets_no_permission(tus: Target) -> None:
    """An origin that is not allowed gets no Access-Control-Allow-Origin that fits it."""
    _need_cors(tus)
    response = tus.options(
        fields={"Origin": "null", "Access-Control-Request-Method": "PATCH", **_uncredited(tus)}
    )
    value = response.get(ALLOW)
    if value == "*":
        raise NotApplicable("every origin is allowed")
    credentials = response.get("Access-Control-Allow-Credentials")
    expect(
        not (value == "null" and credentials == "true"),
        "expected no credentials for the origin null",
        response,
    )


def _uncredited(tus: Target) -> dict[str, None]:
    return dict.fromkeys(tus.settings.headers)
