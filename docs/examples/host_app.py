"""An aiohttp application that takes uploads: run it, then upload to http://127.0.0.1:8080/files/.

It refuses uploads without a file name, keeps only the metadata it wants, tells the client when a
file has arrived, and shows a list of what is there.
"""
# ruff: noqa: INP001 - a program of its own, in no package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tusserver import CallableHooks, Decision, Settings, build_engine, tus_app
from tusserver.protocol.headers import parse_metadata

if TYPE_CHECKING:
    from tusserver import Event

ARRIVED = web.AppKey("arrived", dict[str, str])


def make_app(upload_dir: Path) -> web.Application:
    """Make an application with an upload server at /files/ and a list of uploads at /."""
    app = web.Application()
    app[ARRIVED] = {}

    async def pre_create(event: Event) -> Decision | None:
        """Decide whether the upload may begin; runs before anything is stored."""
        filename = parse_metadata(event.upload.metadata).get("filename", b"")
        if not filename:
            return Decision(reject=(422, "Send a file name: Upload-Metadata: filename <base64>."))
        return Decision(metadata={"filename": filename})

    async def pre_finish(event: Event) -> Decision | None:
        """Add to the answer of the request that brought the last byte."""
        return Decision(headers={"X-Receipt": event.upload.upload_id[:8]})

    async def post_finish(event: Event) -> None:
        """Note what has arrived. The same event may come again: store under its upload."""
        name = parse_metadata(event.upload.metadata)["filename"].decode("utf-8", "replace")
        app[ARRIVED][event.upload.upload_id] = name

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(app[ARRIVED])

    engine = build_engine(
        Settings(upload_dir=upload_dir, max_size=2 * 2**30),
        hooks=CallableHooks(pre_create=pre_create, pre_finish=pre_finish, post_finish=post_finish),
    )
    app.router.add_get("/", show)
    app.add_subapp("/files/", tus_app(engine))
    return app


if __name__ == "__main__":
    web.run_app(make_app(Path("uploads")), host="127.0.0.1", port=8080)
