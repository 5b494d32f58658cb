"""The proxy in front of a server, tried out by real requests (floor 5).

Each step is a function that adds to the findings of a visit. Small uploads are made and removed
again. What a step needs that an earlier one found broken, it leaves out.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tusserver.check import remedies
from tusserver.check.client import TUS, Client, Silent, Unreachable, Untrusted
from tusserver.check.findings import error, warning
from tusserver.check.streaming import check_limit, check_streaming
from tusserver.check.visit import METADATA, Over, Visit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tusserver.check.client import Answer
    from tusserver.check.findings import Finding

PATIENCE = 10.0
"""Seconds that an answer may take."""
IN_ALL = 6
"""How many times that the whole check may take."""
BODY = 2 * 1024 * 1024
"""Bytes of the upload that is really sent: more than the limit that nginx has by default."""

_SOON = 3.0
_GATEWAY = frozenset({502, 503, 504, 521, 522, 523})
_WRONG_DIGEST = base64.b64encode(bytes(20)).decode()


async def check_url(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    insecure: bool = False,
    patience: float = PATIENCE,
) -> list[Finding]:
    """Try out the creation URL as clients know it; give what was found, at least one finding."""
    async with Client(headers or {}, insecure=insecure, patience=patience) as client:
        visit = Visit(client, url)
        try:
            async with asyncio.timeout(patience * IN_ALL):
                await _look_around(visit)
        except Untrusted as failure:
            text = f"The certificate of {url} is not trusted: {failure}."
            visit.add(error("certificate", text, remedies.CERTIFICATE))
        except Silent as failure:
            visit.add(error("silent", f"{url} keeps silent: {failure}.", remedies.SILENT))
        except Unreachable as failure:
            text = f"{url} cannot be reached: {failure}."
            visit.add(error("unreachable", text, remedies.UNREACHABLE))
        except TimeoutError:
            text = f"{url} was too slow to be tried out in {patience * IN_ALL:g} s."
            visit.add(error("slow", text, remedies.SPEED))
        except Over:
            pass
        with suppress(TimeoutError):
            async with asyncio.timeout(patience * 2):
                await visit.clean()
    return visit.conclude()


async def _look_around(visit: Visit) -> None:
    await _arrive(visit)
    upload = await _make(visit)
    await _describe(visit, upload)
    await _send(visit)
    await _override(visit, upload)
    await _checksum(visit)
    await _pages(visit)
    if "PATCH" not in visit.refused and not visit.lost_requests:
        await check_limit(visit, upload)
        await check_streaming(visit)
        await _expect(visit)


async def _arrive(visit: Visit) -> None:
    """Find out whether there is a tusserver at all. Raises: Over, Unreachable."""
    answer = await visit.client.ask("OPTIONS", visit.url, {})
    if answer.status in range(300, 400):
        visit.redirected(answer)
        raise Over
    if not answer.is_ours and answer.status in _GATEWAY:
        text = f"What is in front does not get through to tusserver: {answer.shown}."
        visit.add(error("not_passed_on", text, remedies.NOT_PASSED_ON))
        raise Over
    if not answer.is_ours:
        await _tell_apart(visit, answer)
        return
    visit.expect_headers(answer, "Tus-Version", "Tus-Extension")
    names = answer.headers.get("Tus-Extension", "").split(",")
    visit.extensions = frozenset(name.strip() for name in names)


async def _tell_apart(visit: Visit, options: Answer) -> None:
    """Say why OPTIONS was not answered by tusserver: by HEAD, which it answers in any case."""
    answer = await visit.client.ask("POST", visit.url, {})
    if answer.code:
        # Only its headers are lost, or OPTIONS alone does not get through.
        if options.status in range(200, 300) and "Tus-Resumable" not in answer.headers:
            visit.lost_responses.update({"Tus-Resumable", "Tus-Version", "Tus-Extension"})
        else:
            visit.refused["OPTIONS"] = options.shown
        return
    if answer.is_ours:
        visit.refused["OPTIONS"] = options.shown
        return
    if options.status == answer.status:
        text = f"There is no tusserver at {visit.url}: {answer.shown}."
        visit.add(error("not_there", text, remedies.NOT_THERE))
        raise Over
    visit.refused |= {"OPTIONS": options.shown, "POST": answer.shown}
    raise Over


async def _make(visit: Visit) -> str:
    """Make the upload with which most is tried. Raises: Over."""
    partial = {"Upload-Concat": "partial"} if "concatenation" in visit.extensions else {}
    return await visit.create(16, partial)


async def _describe(visit: Visit, upload: str) -> None:
    answer = await visit.client.ask("HEAD", upload)
    if "Upload-Offset" not in answer.headers and answer.status in {400, 403, 404, 405, 501}:
        if "Tus-Resumable" not in answer.headers:
            visit.refused["HEAD"] = answer.shown
        elif answer.status == 404:  # noqa: PLR2004 - not found
            text = f"An upload that was just made is not found at {upload}."
            visit.add(error("location_path", text, remedies.PATH))
            raise Over
        return
    visit.expect_headers(answer, "Upload-Offset", "Upload-Length")
    lost = []
    if answer.headers.get("Upload-Metadata") != METADATA:
        lost.append("Upload-Metadata")
    if "concatenation" in visit.extensions and "Upload-Concat" not in answer.headers:
        lost.append("Upload-Concat")
    # On the way there or back: who loses half of the others on the way back loses these there.
    (visit.lost_responses or visit.lost_requests).update(lost)


async def _send(visit: Visit) -> None:
    """Send a body of a size that is usual, and look whether it is there."""
    upload = await visit.create(BODY)
    try:
        answer = await visit.patch(upload, 0, bytes(BODY))
    except Silent:
        raise
    except Unreachable as failure:
        text = f"A body of {BODY // 1024**2} MiB does not get through: {failure}."
        visit.add(error("body_limit", text, remedies.BODY_LIMIT))
        return
    await _judge(visit, upload, answer)
    await visit.drop(upload)


async def _judge(visit: Visit, upload: str, answer: Answer) -> None:
    """Say what became of an append."""
    if answer.status == 413 and not answer.is_ours:  # noqa: PLR2004 - content too large
        text = f"A body of {BODY // 1024**2} MiB does not get through: {answer.shown}."
        visit.add(error("body_limit", text, remedies.BODY_LIMIT))
    elif answer.code == "type_refused":
        visit.typed()
        raise Over
    elif answer.code == "content_type_unsupported":
        visit.lost_requests.add("Content-Type")
    elif answer.code == "header_invalid" and "Upload-Offset" in answer.text:
        visit.lost_requests.add("Upload-Offset")
    elif answer.status != 204 and not answer.is_ours:  # noqa: PLR2004 - no content
        visit.refused["PATCH"] = answer.shown
    elif answer.status == 204:  # noqa: PLR2004
        visit.expect_headers(answer, "Upload-Offset")
        if "HEAD" not in visit.refused and "Upload-Offset" not in visit.lost_responses:
            await _look_again(visit, upload)
    else:
        text = f"An append failed: {answer.shown}."
        visit.add(error("append", text, remedies.REFUSED))


async def _look_again(visit: Visit, upload: str) -> None:
    if (told := await visit.offset(upload)) != BODY:
        text = f"HEAD tells the offset {told} after {BODY} bytes were taken: an old answer."
        visit.add(error("cached", text, remedies.CACHE))


async def _override(visit: Visit, upload: str) -> None:
    """Try what clients do where PATCH is not let through."""
    fields = {**TUS, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "7"}
    fields["Content-Type"] = "application/offset+octet-stream"
    answer = await visit.client.ask("POST", upload, fields)
    if answer.code == "method_not_allowed":
        visit.lost_requests.add("X-HTTP-Method-Override")


async def _checksum(visit: Visit) -> None:
    if "checksum" not in visit.extensions or visit.lost_requests or "PATCH" in visit.refused:
        return
    upload = await visit.create(1)
    digest = {"Upload-Checksum": f"sha1 {_WRONG_DIGEST}"}
    if (await visit.patch(upload, 0, b"1", digest)).status == 204:  # noqa: PLR2004
        visit.lost_requests.add("Upload-Checksum")
    await visit.drop(upload)


async def _pages(visit: Visit) -> None:
    """Ask as a page of the server's own origin does."""
    parts = urlsplit(visit.url)
    origin = {"Origin": f"{parts.scheme}://{parts.netloc}"}
    preflight = {**origin, "Access-Control-Request-Method": "PATCH"}
    for method, fields in (("OPTIONS", preflight), ("POST", {**origin, **TUS})):
        # The POST lacks a length: nothing is made.
        answer = await visit.client.ask(method, visit.url, fields)
        allowed = answer.headers.getall("Access-Control-Allow-Origin", [])
        if len(allowed) > 1:
            text = f"Access-Control-Allow-Origin comes {len(allowed)} times: browsers refuse that."
            visit.add(error("cors_doubled", text, remedies.CORS))
        if answer.code == "origin_refused":
            text = (
                f"The server does not know that it is reached as {origin['Origin']}: it takes its "
                "own pages for those of a stranger."
            )
            visit.add(error("own_origin", text, remedies.ORIGIN))


async def _expect(visit: Visit) -> None:
    if "buffering" in {finding.code for finding in visit.findings}:
        return
    upload = await visit.create(1)
    fields = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0", **TUS}
    try:
        await visit.client.ask(
            "PATCH", upload, fields, body=b"1", waits_for_100=True, patience=_SOON
        )
    except Silent:
        text = f"Who waits for 100 Continue waits longer than {_SOON:g} s."
        visit.add(warning("continue", text, remedies.CONTINUE))
