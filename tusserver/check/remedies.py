"""What to change where, for what a proxy gets wrong (floor 5; docs/deploy.md)."""

from __future__ import annotations

BODY_LIMIT = (
    "nginx: client_max_body_size 0; HAProxy: remove the rule http-request deny that looks at "
    "req.body_size or Content-Length; where a CDN sets the limit (Cloudflare: 100 MB), let clients "
    "send smaller pieces (chunkSize of tus-js-client and Uppy)"
)
BUFFERING = (
    "nginx: proxy_request_buffering off, with proxy_http_version 1.1; HAProxy: remove option "
    "http-buffer-request and http-request wait-for-body; Traefik: remove the middleware buffering"
)
BUFFERING_IN_CHUNKS = (
    "nginx: proxy_http_version 1.1 (with 1.0, bodies in chunks are stored first, whatever "
    "proxy_request_buffering says); HAProxy: remove option http-buffer-request"
)
HELD_BACK = "HAProxy: remove option http-buffer-request and http-request wait-for-body"
LOST_REQUEST = (
    "nginx: remove the proxy_set_header that empties them, and set ignore_invalid_headers as by "
    "default; HAProxy: remove the http-request del-header that names them; a CDN or firewall: "
    "allow them"
)
LOST_RESPONSE = (
    "nginx: remove the proxy_hide_header that names them; HAProxy: remove the http-response "
    "del-header that names them; a CDN or firewall: allow them"
)
METHODS = (
    "nginx: remove the limit_except, or the if about $request_method; HAProxy: remove the rule "
    "http-request deny that looks at the method; a CDN or firewall: allow the methods"
)
OVERRIDE_HELPS = "; until then clients can use overridePatchMethod (tus-js-client)"
LOCATION = (
    "tusserver: --public-url as clients write it, or none at all: then Location is a path and "
    "right everywhere; nginx: proxy_redirect off"
)
PATH = (
    "let the proxy keep paths as they are (nginx: no path after the host in proxy_pass; HAProxy: "
    "no http-request set-path or replace-path), or tell the server: --public-url"
)
REDIRECT = (
    "give clients the URL to which it leads; nginx: location ~ ^/files(/|$) rather than location "
    "/files/, no return 301 for POST; HAProxy: remove http-request redirect"
)
ORIGIN = (
    "nginx: proxy_set_header Host $http_host and X-Forwarded-Proto $scheme; HAProxy: http-request "
    "set-header X-Forwarded-Proto https; then tusserver: --trusted-proxies with the address of the "
    "proxy; or name the origin in --public-url"
)
CORS = (
    "leave CORS to tusserver (--cors-origins): nginx: remove add_header Access-Control-*; HAProxy: "
    "remove http-response add-header or set-header Access-Control-*"
)
CONTINUE = "nginx and HAProxy pass it on by themselves; a CDN or firewall: do not remove Expect"
CACHE = "nginx: remove proxy_cache there; HAProxy: remove http-request cache-use; a CDN: no caching"
NOT_PASSED_ON = (
    "start tusserver; nginx: the address in proxy_pass; HAProxy: the line server of the backend"
)
NOT_THERE = (
    "correct --url to the creation URL; tusserver: --base-path; nginx: location and proxy_pass; "
    "HAProxy: the rule path_beg of the frontend"
)
SILENT = "nginx: the address in proxy_pass; HAProxy: the line server; is tusserver itself well?"
UNREACHABLE = "correct --url, start the proxy, open its port"
CERTIFICATE = (
    "nginx: ssl_certificate with the whole chain; HAProxy: the file after crt; or --insecure for "
    "a certificate that you signed yourself"
)
GUARDED = "give a credential: --header 'Authorization: Bearer ...'"
REFUSED = "see docs/errors.md for this answer of tusserver"
SPEED = "try again when the server is less busy"
