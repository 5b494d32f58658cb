"""A handler on aiohttp that reads what comes and stores nothing: the floor of any server on it."""

from __future__ import annotations

import sys

from aiohttp import web

_VERSION = {"Tus-Resumable": "1.0.0"}


async def _handle(request: web.Request) -> web.Response:
    body = await request.read()
    if request.method == "POST":
        return web.Response(status=201, headers={**_VERSION, "Location": "/files/one"})
    status = 204 if request.method == "PATCH" else 200
    length = str(len(body))
    fields = {"Upload-Offset": length, "Upload-Length": length, "Cache-Control": "no-store"}
    return web.Response(status=status, headers={**_VERSION, **fields})


def main() -> None:
    """Serve at the port that is the first argument."""
    app = web.Application()
    app.router.add_route("*", "/files/{name:.*}", _handle)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None)


if __name__ == "__main__":
    main()
