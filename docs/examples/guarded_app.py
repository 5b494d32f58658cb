"""An application with a login of its own that guards its uploads: run it, then open no browser.

    curl -c jar -d name=alice http://127.0.0.1:8080/login
    curl -b jar -i -H 'Tus-Resumable: 1.0.0' -H 'Upload-Length: 5' \
        -H 'Content-Type: application/offset+octet-stream' \
        --data-binary hello http://127.0.0.1:8080/files/

Everybody sees only their own uploads. POST /upload-url gives who is logged in a URL that a
browser, or somebody without a login, can use for one upload of at most 10 MiB.
"""
# ruff: noqa: INP001 - a program of its own, in no package

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver import Action, Caller, Forbidden, Settings, build_engine, sign_upload_url, tus_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tusserver import AccessRequest

MIB = 2**20
SESSIONS = web.AppKey("sessions", dict[str, str])
USER = web.RequestKey("user", str | None)


@web.middleware
async def find_user(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Find out who is logged in, for the pages of the application and for its uploads."""
    request[USER] = request.app[SESSIONS].get(request.cookies.get("session", ""))
    return await handler(request)


async def authorize(access: AccessRequest) -> Caller | None:
    """Say whose uploads a request is about; called before a byte of it is read."""
    user = access.request.context.get(USER)
    if user is None:
        return None  # 401
    if (
        access.action is Action.TERMINATE
        and access.upload is not None
        and access.upload.is_complete
    ):
        raise Forbidden("What has arrived is not deleted.")  # 403
    return Caller(owner=user, max_size=100 * MIB)


async def log_in(request: web.Request) -> web.Response:
    """Begin a session; a real application asks for a password."""
    session = secrets.token_urlsafe()
    request.app[SESSIONS][session] = str((await request.post())["name"])
    response = web.Response(text="welcome\n")
    response.set_cookie("session", session, httponly=True, samesite="Lax")
    return response


def make_app(upload_dir: Path, url_secret: str) -> web.Application:
    """Make an application with uploads at /files/, guarded by its own login."""
    settings = Settings(upload_dir=upload_dir, url_secret=url_secret)

    async def give_url(request: web.Request) -> web.Response:
        if request[USER] is None:
            raise web.HTTPUnauthorized
        base_url = f"{request.scheme}://{request.host}/files/"
        url = sign_upload_url(url_secret, base_url, owner=request[USER], max_size=10 * MIB)
        return web.json_response({"url": url})

    app = web.Application(middlewares=[find_user])
    app[SESSIONS] = {}
    app.router.add_post("/login", log_in)
    app.router.add_post("/upload-url", give_url)
    app.add_subapp("/files/", tus_app(build_engine(settings, authorize=authorize)))
    return app


if __name__ == "__main__":
    # A real application keeps its secret, so that URLs outlive a restart.
    app = make_app(Path("uploads"), url_secret=secrets.token_hex(32))
    web.run_app(app, host="127.0.0.1", port=8080)
