"""Checks of termination (tus 1.0.0, Termination).

TER-04 (the space is free again) is not to be seen from outside: no answer tells how much room
a server has. Nor is CAT-20 or anything else that needs the credentials of two owners.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from conformance.check import check, expect, expect_status
from conformance.evidence import (
    eventually,
    expect_content,
    expect_gone,
    expect_offset,
    expect_untouched,
    finish,
    is_ok,
    location,
    part_way,
    sample,
    state,
)
from conformance.wire import WireError

if TYPE_CHECKING:
    from conformance.target import Target

TERMINATION = ("creation", "termination")
GOES_ON = 5.0  # seconds: how long a server may need to notice that a client is gone


def expect_terminated(tus: Target, url: str) -> None:
    """Expect DELETE to be 204 without a body, and everything after that to be 404 or 410."""
    response = tus.delete(url)
    expect_status(response, 204)
    expect(not response.body, "expected a 204 without a body")
    expect_gone(tus.head(url), "HEAD after DELETE")


@check("TER-01", "TER-10", needs=("creation",))
def termination_is_announced_exactly_when_it_works(tus: Target) -> None:
    """DELETE removes an upload if and only if termination is announced."""
    url = tus.create(5)
    response = tus.delete(url)
    if tus.has("termination"):
        expect_status(response, 204)
        return
    expect(response.status >= 400, f"expected DELETE refused, got {response.status}")
    finish(tus, url, b"hello", 0)


@check("TER-02", "TER-03", needs=TERMINATION)
def unfinished_uploads_can_be_terminated(tus: Target) -> None:
    """DELETE on a new and on a half-filled upload is 204, and it is gone."""
    url = tus.create(10)
    expect_terminated(tus, url)
    url = tus.create(10)
    expect_status(tus.append(url, 0, b"hello"), 204)
    expect_terminated(tus, url)


@check("TER-02", needs=(*TERMINATION, "creation-defer-length"))
def uploads_of_open_length_can_be_terminated(tus: Target) -> None:
    """DELETE works before the length is known."""
    url = tus.create(None)
    expect_status(tus.append(url, 0, b"hello"), 204)
    expect_terminated(tus, url)


@check("TER-02", needs=(*TERMINATION, "concatenation"))
def partial_uploads_can_be_terminated(tus: Target) -> None:
    """DELETE on a partial upload that is in no final one is 204, and it is gone."""
    for data in (b"", b"he", b"hello"):
        url = tus.create(5, {"Upload-Concat": "partial"})
        if data:
            expect_status(tus.append(url, 0, data), 204)
        expect_terminated(tus, url)


@check("TER-02", "TER-09", needs=TERMINATION)
def complete_uploads_can_be_terminated_or_are_kept(tus: Target) -> None:
    """DELETE on a complete upload is 204 and removes it, or a refusal that harms nothing."""
    data = sample(1_000)
    urls = [tus.upload(data)]
    empty = tus.post(fields={"Upload-Length": "0"})
    if empty.status == 201:
        urls.append(location(tus, empty))
    for url in urls:
        size = len(data) if tus.offset(url) else 0
        response = tus.delete(url)
        if is_ok(response):
            expect_status(response, 204)
            expect_gone(tus.head(url), "HEAD after DELETE")
            expect(not is_ok(tus.get(url)), "expected no download of what is gone")
        else:
            expect(400 <= response.status < 500, f"expected 204 or 4xx, got {response.status}")
            expect_content(tus, url, data[:size])


@check("TER-02", "TER-09", needs=(*TERMINATION, "concatenation"))
def final_uploads_can_be_terminated_or_are_kept(tus: Target) -> None:
    """The same holds for a final upload; its parts do not go with it."""
    part = tus.upload(b"hello", {"Upload-Concat": "partial"})
    fields = {"Upload-Concat": f"final;{tus.path(part)}"}
    url = location(tus, tus.post(fields=fields))
    eventually(lambda: state(tus, url).get("Upload-Offset") == "5", seconds=GOES_ON)
    response = tus.delete(url)
    if is_ok(response):
        expect_status(response, 204)
        expect_gone(tus.head(url), "HEAD after DELETE")
    else:
        expect(400 <= response.status < 500, f"expected 204 or 4xx, got {response.status}")
        expect_content(tus, url, b"hello")


@check("TER-03", needs=TERMINATION)
def terminated_uploads_stay_away(tus: Target) -> None:
    """HEAD, PATCH and DELETE on what was terminated are 404 or 410, again and again."""
    url = tus.create(10)
    expect_status(tus.append(url, 0, b"01234"), 204)
    expect_status(tus.delete(url), 204)
    for _ in range(2):
        expect_gone(tus.head(url), "HEAD after DELETE")
        expect_gone(tus.append(url, 5, b"56789"), "PATCH after DELETE")
        expect_gone(tus.append(url, 0, b"0123456789"), "PATCH after DELETE")
        expect_gone(tus.delete(url), "a second DELETE")
    expect(not is_ok(tus.get(url)), "expected no download of what was terminated")


@check("TER-03", needs=TERMINATION)
def termination_harms_no_other_upload(tus: Target) -> None:
    """DELETE removes one upload, and those made before and after it stay."""
    data = sample(1_000)
    urls = [tus.create(len(data)) for _ in range(3)]
    for url in urls:
        expect_status(tus.append(url, 0, data[:500]), 204)
    expect_status(tus.delete(urls[1]), 204)
    later = tus.create(len(data))
    for url in (urls[0], urls[2]):
        expect_untouched(tus, url, data, 500)
    expect_offset(tus, later, 0, "of an upload that is made after a DELETE")
    finish(tus, later, data, 0)
    expect_gone(tus.head(urls[1]), "HEAD after DELETE")


@check("TER-05", needs=TERMINATION)
def what_does_not_exist_cannot_be_terminated(tus: Target) -> None:
    """DELETE on an unknown upload is 404 (410 where it is known to have been there)."""
    url = tus.create(1)
    expect_status(tus.delete(url.rstrip("/") + "0"), 404)
    expect_offset(tus, url, 0, "of the upload with the URL that is nearly the same")


@check("TER-06", needs=TERMINATION)
def termination_ends_a_running_patch(tus: Target) -> None:
    """DELETE during a PATCH is 204, and the upload stays away; or 423, and it goes on."""
    data = sample(200_000)
    url = tus.create(len(data))
    with part_way(tus, url, 0, data, sent=100_000) as connection:
        time.sleep(0.2)
        response = tus.delete(url)
        expect_status(response, 204, 423)
        try:
            connection.send(data[100_000:])
            answer = connection.read_response("PATCH", timeout=GOES_ON)
        except (WireError, OSError):
            answer = None
    if response.status == 423:
        expect(
            answer is not None and answer.status == 204,
            "expected the PATCH done in peace after a 423",
        )
        expect_content(tus, url, data)
        return
    expect(
        answer is None or not is_ok(answer), "expected no success for the PATCH that DELETE ended"
    )
    for _ in range(3):
        expect_gone(tus.head(url), "HEAD after the writer of a terminated upload was done")
        time.sleep(0.1)
    expect_gone(tus.append(url, 0, data), "PATCH after DELETE")


@check("TER-06", needs=TERMINATION)
def silent_writer_does_not_stop_termination(tus: Target) -> None:
    """A client that vanished without a word keeps nobody from DELETE, 423 apart."""
    data = sample(1_000)
    url = tus.create(len(data))
    connection = part_way(tus, url, 0, data, sent=500)
    time.sleep(0.2)
    response = tus.delete(url)
    expect_status(response, 204, 423)
    connection.reset()
    if response.status == 423:
        gone = eventually(lambda: tus.delete(url).status == 204, seconds=GOES_ON, pause=0.3)
        expect(gone, "expected DELETE to be 204 once the connection of the writer is reset")
    expect_gone(tus.head(url), "HEAD after DELETE")


@check("TER-07", needs=TERMINATION)
def body_of_delete_does_no_harm(tus: Target) -> None:
    """DELETE with an empty or any other body is 204."""
    for body in (b"", b"{}", bytes(10_000)):
        fields = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        expect_status(tus.delete(tus.create(1), fields, body), 204)


@check("TER-08", needs=(*TERMINATION, "concatenation"))
def final_uploads_survive_their_parts(tus: Target) -> None:
    """After DELETE on its parts a final upload is whole, or the DELETE is refused."""
    first, second = sample(70_000, 1), sample(3, 2)
    parts = [tus.upload(data, {"Upload-Concat": "partial"}) for data in (first, second)]
    fields = {"Upload-Concat": "final;" + " ".join(tus.path(part) for part in parts)}
    url = location(tus, tus.post(fields=fields))
    for part in parts:
        expect_status(tus.delete(part), 204, 403, 404, 409, 410, 423)
    whole = len(first) + len(second)
    eventually(lambda: state(tus, url).get("Upload-Offset") == str(whole), seconds=GOES_ON)
    expect_content(tus, url, first + second)
