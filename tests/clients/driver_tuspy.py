"""Upload one file with tuspy as a JSON job says, and print what happens as JSON lines.

Run as a program of its own, as users of tuspy do: it holds a whole chunk in memory.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.storage.filestorage import FileStorage


def say(event: str, **data: Any) -> None:
    """Print one event."""
    print(json.dumps({"event": event, **data}), flush=True)  # noqa: T201 - the test reads it


async def upload(job: dict[str, Any]) -> None:
    """Do the job."""
    options = dict(job["options"])
    client = TusClient(job["endpoint"], headers=options.pop("headers", None))
    if job["storage"] is not None:
        options |= {"store_url": True, "url_storage": FileStorage(job["storage"])}
    if job["asynchronous"]:
        uploader = client.async_uploader(job["file"], **options)
        if uploader.url is None:
            uploader.set_url(await uploader.create_url())
    else:
        uploader = client.uploader(job["file"], **options)
        if uploader.url is None:
            uploader.set_url(uploader.create_url())
    say("url", url=uploader.url, offset=uploader.offset)
    while uploader.offset < uploader.stop_at:
        step = uploader.upload_chunk()
        if step is not None:
            await step
        say("progress", bytes=uploader.offset)
    say("success", url=uploader.url)


if __name__ == "__main__":
    try:
        asyncio.run(upload(json.loads(sys.argv[1])))
    except TusCommunicationError as error:
        say("error", message=str(error), status=error.status_code)
        sys.exit(1)
