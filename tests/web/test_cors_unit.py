"""Origins and the CORS headers, without a server."""

from __future__ import annotations

import pytest

from tusserver.errors import ConfigError, OriginRefused
from tusserver.web.cors import (
    CorsPolicy,
    check_origin,
    is_allowed,
    preflight_headers,
    response_headers,
)

PAGE = "https://app.example.org"
OTHER = "https://evil.example.net"
OWN = "http://files.example.org:1080"
LISTED = CorsPolicy(origins=(PAGE, "https://*.example.com"))

# What tus-js-client and Uppy send and read (and what the drafts and GET add).
SENT_BY_CLIENTS = [
    "Authorization",
    "Content-Type",
    "X-Requested-With",
    "X-Request-ID",
    "X-HTTP-Method-Override",
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Incomplete",
    "Upload-Draft-Interop-Version",
    "Content-Disposition",
    "Range",
    "If-Range",
]
READ_BY_CLIENTS = [
    "Location",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Expires",
    "Tus-Version",
    "Tus-Resumable",
    "Tus-Max-Size",
    "Tus-Extension",
    "Tus-Checksum-Algorithm",
    "Upload-Complete",
    "Upload-Limit",
    "Upload-Draft-Interop-Version",
    "Content-Location",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Content-Disposition",
    "Retry-After",
]


def listed(value):
    return [item.strip() for item in value.split(",")]


@pytest.mark.clause("CORS-01")
def test_a_preflight_gets_origin_methods_and_a_time_to_keep_it():
    headers = preflight_headers(CorsPolicy(max_age=600), PAGE)
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert set(listed(headers["Access-Control-Allow-Methods"])) == {
        "POST", "GET", "HEAD", "PATCH", "DELETE", "OPTIONS",
    }  # fmt: skip
    assert headers["Access-Control-Max-Age"] == "600"


@pytest.mark.clause("CORS-02")
@pytest.mark.parametrize("name", [*SENT_BY_CLIENTS, "X-Tenant"])
def test_every_header_that_clients_send_is_allowed(name):
    policy = CorsPolicy(extra_headers=("X-Tenant",))
    assert name in listed(preflight_headers(policy, PAGE)["Access-Control-Allow-Headers"])


@pytest.mark.clause("CORS-02")
def test_the_application_s_own_headers_are_not_allowed_unasked():
    assert "X-Tenant" not in preflight_headers(CorsPolicy(), PAGE)["Access-Control-Allow-Headers"]


@pytest.mark.clause("CORS-03")
@pytest.mark.parametrize("name", READ_BY_CLIENTS)
@pytest.mark.parametrize("make", [response_headers, preflight_headers])
def test_every_header_that_pages_read_is_exposed(make, name):
    assert name in listed(make(CorsPolicy(), PAGE)["Access-Control-Expose-Headers"])


def test_with_a_star_the_headers_do_not_depend_on_the_request():
    policy = CorsPolicy()
    assert response_headers(policy, None) == response_headers(policy, PAGE)
    assert "Vary" not in response_headers(policy, PAGE)


@pytest.mark.clause("CORS-05")
@pytest.mark.parametrize("make", [response_headers, preflight_headers])
@pytest.mark.parametrize("origin", [PAGE, OTHER, "null", None])
@pytest.mark.parametrize(
    "policy",
    [LISTED, CorsPolicy(credentials=True), CorsPolicy(origins=(PAGE,), credentials=True)],
    ids=["list", "any with credentials", "list with credentials"],
)
def test_vary_names_origin_where_the_answer_depends_on_it(make, policy, origin):
    headers = make(policy, origin)
    assert headers["Vary"] == "Origin"
    assert headers.get("Access-Control-Allow-Origin") in {None, origin} - {"*"}


@pytest.mark.clause("CORS-05")
def test_credentials_come_with_the_origin_by_name():
    headers = response_headers(CorsPolicy(credentials=True), PAGE)
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "Access-Control-Allow-Credentials" not in response_headers(LISTED, PAGE)


@pytest.mark.clause("CORS-05", "CORS-06")
@pytest.mark.parametrize("origin", ["null", "https://a b", 'x"y', "https://x/path", ""])
def test_with_credentials_a_star_stands_for_well_formed_origins_only(origin):
    policy = CorsPolicy(credentials=True)
    assert response_headers(policy, origin) == {"Vary": "Origin"}
    with pytest.raises(OriginRefused):
        check_origin(policy, origin, method="POST", own_origin=OWN)


@pytest.mark.clause("CORS-06")
@pytest.mark.parametrize("make", [response_headers, preflight_headers])
def test_an_origin_that_is_not_allowed_gets_no_permission(make):
    assert make(LISTED, OTHER) == {"Vary": "Origin"}


@pytest.mark.clause("CORS-06")
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "HEAD", "GET"])
def test_a_request_of_an_origin_that_is_not_allowed_is_refused(method):
    with pytest.raises(OriginRefused):
        check_origin(LISTED, OTHER, method=method, own_origin=OWN)


@pytest.mark.clause("CORS-06")
def test_a_preflight_is_answered_whoever_asks():
    check_origin(LISTED, OTHER, method="OPTIONS", own_origin=OWN)


def test_a_request_without_origin_passes():
    check_origin(LISTED, None, method="POST", own_origin=OWN)


@pytest.mark.parametrize(
    ("origin", "own", "passes"),
    [
        (OWN, OWN, True),
        ("https://h.example", "https://H.Example:443", True),
        ("http://[::1]:1080", "http://[::1]:1080", True),
        ("https://files.example.org:1080", OWN, False),
        ("http://files.example.org", OWN, False),
        ("null", "null", False),
        ("", "", False),
        ("http://", "http://", False),
    ],
    ids=["same", "case and port", "ipv6", "scheme", "port", "null", "empty", "no host"],
)
def test_a_page_of_the_server_itself_may_use_it(origin, own, passes):
    if passes:
        check_origin(LISTED, origin, method="POST", own_origin=own)
        return
    with pytest.raises(OriginRefused):
        check_origin(LISTED, origin, method="POST", own_origin=own)


@pytest.mark.parametrize(
    ("pattern", "origin", "expected"),
    [
        (PAGE, PAGE, True),
        (PAGE, "https://APP.example.ORG", True),
        (PAGE, "HTTPS://app.example.org:443", True),
        ("https://app.example.org:443", PAGE, True),
        (PAGE, "http://app.example.org", False),
        (PAGE, "https://app.example.org:8443", False),
        (PAGE, "https://app.example.org.evil.net", False),
        (PAGE, "https://xapp.example.org", False),
        (PAGE, "https://app.example.org/", False),
        (PAGE, "https://user@app.example.org", False),
        (PAGE, f"{PAGE} {OTHER}", False),
        (PAGE, f"{PAGE}\n", False),
        ("https://*.example.org", "https://a.example.org", True),
        ("https://*.example.org", "https://a.b.example.org", True),
        ("https://*.example.org", "https://example.org", False),
        ("https://*.example.org", "https://evilexample.org", False),
        ("https://*.example.org", "https://a.example.org:8443", False),
        ("https://*.example.org", "http://a.example.org", False),
        ("https://*.example.org:8443", "https://a.example.org:8443", True),
        ("http://[::1]:8080", "http://[::1]:8080", True),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("null", "null", True),
        (PAGE, "null", False),
        ("*", "null", True),
        ("*", "file://", True),
    ],
)
def test_origins_are_matched_exactly_or_as_subdomains(pattern, origin, expected):
    assert is_allowed(CorsPolicy(origins=(pattern,)), origin) is expected


def test_no_origins_at_all_means_that_no_other_page_may():
    assert not is_allowed(CorsPolicy(origins=()), PAGE)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"origins": ("example.org",)}, "cors_origins=example.org"),
        ({"origins": ("https://example.org/",)}, "cors_origins=https://example.org/"),
        ({"origins": ("https://a.*.example.org",)}, "cors_origins=https://a.*.example.org"),
        ({"origins": ("https://*",)}, "cors_origins=https://*"),
        ({"origins": ("",)}, "cors_origins="),
        ({"extra_headers": ("X Y",)}, "cors_headers=X Y"),
        ({"extra_headers": ("X\r\nY",)}, "cors_headers="),
        ({"max_age": -1}, "cors_max_age=-1"),
    ],
)
def test_a_setting_that_could_never_match_is_refused(settings, named):
    with pytest.raises(ConfigError) as caught:
        CorsPolicy(**settings)
    assert caught.value.message.startswith(named)
