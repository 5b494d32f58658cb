"""Files of the wrong kind at a real server: refused, and nothing of them is kept."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from tests.auth import files
from tests.auth.credentials import SECRET, Signed
from tests.support.raw import OFFSET_STREAM, Tus, chunked
from tests.support.server import TusServer
from tests.support.waiting import eventually
from tests.support.watching import watch
from tusserver import sign_upload_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TYPED = {"Content-Type": OFFSET_STREAM}
PARTIAL = {"Upload-Concat": "partial"}
PICTURE = files.PNG + bytes(6000)
PROGRAM = files.EXE + bytes(6000)


def is_written(data: Path) -> bool:
    with data.open("rb") as file:
        return file.read(2) != bytes(2)


def told(**values: str) -> dict[str, str]:
    pairs = (f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


AS_PICTURE = told(filename="a.png", filetype="image/png")


@pytest.fixture(scope="module")
def picky_server() -> Iterator[TusServer]:
    flags = ("--allowed-types", "image/*,text/csv", "--allowed-extensions", "png,csv")
    with TusServer(*flags, "--check-content") as server:
        yield server
        server.check_log()


@pytest.fixture
def picky(request: pytest.FixtureRequest, picky_server: TusServer) -> TusServer:
    return watch(request, picky_server)


@pytest.fixture
def tus(picky: TusServer) -> Tus:
    return Tus(picky.url)


@pytest.fixture
def stored(picky: TusServer) -> Callable[[], set[str]]:
    return lambda: {path.name.partition(".")[0] for path in picky.upload_dir.glob("??/*")}


@pytest.mark.parametrize(
    "fields",
    [
        told(filename="a.png", filetype="text/html"),
        told(filename="a.html", filetype="image/png"),
        told(filetype="image/png"),
        {},
    ],
    ids=["of another type", "of another ending", "without a name", "of which nothing is told"],
)
def test_a_file_is_refused_at_its_creation(tus: Tus, stored, fields):
    before = stored()
    for body in (b"", PICTURE):
        answer = tus.post(
            {"Upload-Length": str(len(PICTURE)), **(TYPED if body else {})} | fields, body
        )
        assert (answer.status, answer.code) == (415, "type_refused")
    assert stored() == before


def test_what_is_told_of_parts_does_not_matter(tus: Tus):
    target = tus.create(5, PARTIAL)
    assert tus.delete(target).status == 204


def test_a_picture_arrives(tus: Tus):
    target = tus.upload(PICTURE, AS_PICTURE)
    assert tus.content(target) == PICTURE
    whole = tus.create(len(PICTURE), AS_PICTURE | TYPED, PICTURE)
    assert tus.content(whole) == PICTURE


def test_a_program_that_calls_itself_a_picture_leaves_nothing(tus: Tus, stored):
    before = stored()
    answer = tus.post({"Upload-Length": str(len(PROGRAM)), **AS_PICTURE, **TYPED}, PROGRAM)
    assert (answer.status, answer.code) == (415, "type_refused")
    assert stored() == before
    target = tus.create(len(PROGRAM), AS_PICTURE)
    answer = tus.patch(target, 0, PROGRAM)
    assert (answer.status, answer.code) == (415, "type_refused")
    assert tus.head(target).status == 404
    assert stored() == before


def test_it_is_refused_before_it_is_whole_and_while_nothing_is_written(tus: Tus, picky, stored):
    target = tus.create(10**7, AS_PICTURE)
    with tus.wire() as wire:
        wire.send(tus.append_message(target, 0, b"", {"Content-Length": str(10**7)}))
        wire.send(PROGRAM[:2000])
        data = picky.upload_dir / target.split("/")[2][:2] / target.split("/")[2]
        assert not eventually(lambda: is_written(data), within=0.3)
        wire.send(PROGRAM[2000:])
        answer = wire.response("PATCH")
    assert answer.status == 415
    assert answer.closes
    assert tus.head(target).status == 404


@pytest.mark.parametrize("size", [1, 100, 4095])
def test_small_first_requests_do_not_hide_a_program(tus: Tus, stored, size):
    before = stored()
    target = tus.create(len(PROGRAM), AS_PICTURE)
    assert tus.patch(target, 0, PROGRAM[:size]).offset == size
    assert tus.patch(target, size, PROGRAM[size:]).status == 415
    assert tus.head(target).status == 404
    assert stored() == before


def test_a_picture_may_come_in_small_requests(tus: Tus):
    target, offset = tus.create(len(PICTURE), AS_PICTURE), 0
    for size in (1, 7, 1000, 3087, 1, 5):
        assert tus.patch(target, offset, PICTURE[offset : offset + size]).status == 204
        offset += size
    assert tus.patch(target, offset, PICTURE[offset:]).status == 204
    assert tus.content(target) == PICTURE


def test_a_short_file_is_looked_at_before_it_is_finished(tus: Tus, stored):
    before = stored()
    for body, status in ((files.EXE[:40], 415), (files.PNG, 204)):
        target = tus.create(len(body), AS_PICTURE)
        assert tus.patch(target, 0, body[:10]).status == 204
        assert tus.patch(target, 10, body[10:]).status == status
    assert len(stored() - before) == 1


def test_a_length_that_is_told_late_ends_the_look_too(tus: Tus):
    target = tus.create(None, AS_PICTURE)
    assert tus.patch(target, 0, b"MZ no picture").status == 204
    assert tus.patch(target, 13, b"", {"Upload-Length": "13"}).status == 415
    assert tus.head(target).status == 404


def test_a_picture_in_trickles_arrives_though_the_connection_breaks(tus: Tus):
    target = tus.create(len(PICTURE), AS_PICTURE)
    with tus.wire() as wire:
        fields = {"Transfer-Encoding": "chunked", "Content-Length": None}
        wire.send(tus.append_message(target, 0, b"", fields))
        wire.send(chunked(PICTURE[:1000], end=False))
        wire.half_close()
    assert tus.settle(target, 1000) == 1000
    assert tus.patch(target, 1000, PICTURE[1000:]).status == 204
    assert tus.content(target) == PICTURE


def test_a_checksum_and_a_look_get_along(tus: Tus):
    digest = b64encode(hashlib.sha1(PICTURE).digest()).decode()  # noqa: S324 - tus names it
    target = tus.create(len(PICTURE), AS_PICTURE)
    wrong = {"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    assert tus.patch(target, 0, PICTURE, wrong).status == 460
    assert tus.patch(target, 0, PICTURE, {"Upload-Checksum": f"sha1 {digest}"}).status == 204
    assert tus.content(target) == PICTURE


def test_an_empty_file_is_text(tus: Tus, stored):
    before = stored()
    assert tus.post({"Upload-Length": "0", **AS_PICTURE}).status == 415
    assert stored() == before
    assert tus.create(0, told(filename="a.csv", filetype="text/csv"))


# --- parts --------------------------------------------------------------------------------


def test_what_parts_make_together_is_looked_at(tus: Tus, stored):
    before = stored()
    for whole, status in ((PROGRAM, 415), (PICTURE, 201)):
        parts = [
            tus.upload(piece, PARTIAL)
            for piece in (whole[:3], whole[3:10], whole[10:3000], whole[3000:])
        ]
        answer = tus.post({"Upload-Concat": f"final;{' '.join(parts)}", **AS_PICTURE})
        assert answer.status == status
        if status == 415:
            # The final left nothing, and its parts can be deleted.
            assert len(stored() - before) == len(parts)
            assert [tus.delete(part).status for part in parts] == [204] * len(parts)
    assert eventually(lambda: tus.content(tus.target(answer.get("Location"))) == PICTURE)


def test_a_final_that_waited_for_its_parts_is_looked_at_when_they_are_there(tus: Tus, picky):
    parts = [tus.create(len(PROGRAM), PARTIAL)]
    answer = tus.post({"Upload-Concat": f"final;{parts[0]}", **AS_PICTURE})
    assert answer.status == 201
    target = tus.target(answer.get("Location"))
    assert tus.patch(parts[0], 0, PROGRAM).status == 204
    assert eventually(lambda: tus.head(target).status == 404)
    assert eventually(lambda: tus.delete(parts[0]).status == 204)


# --- what a credential narrows ------------------------------------------------------------


def test_a_signed_url_may_be_for_one_kind_of_file(make_server: Callable[..., TusServer]):
    server = make_server(environment={"TUSSERVER_URL_SECRET": SECRET})
    tus = Signed(sign_upload_url(SECRET, server.url, types=["image/png"]))
    answer = tus.post({"Upload-Length": "5", **told(filetype="image/gif")})
    assert (answer.status, answer.code) == (415, "type_refused")
    assert tus.post({"Upload-Length": "5"}).status == 415
    assert tus.upload(PICTURE, told(filetype="image/png"))


def test_a_signed_url_for_one_kind_joins_only_parts_that_can_be_looked_at(
    make_server: Callable[..., TusServer],
):
    flags = "--allowed-types", "image/*,text/plain", "--check-content"
    server = make_server(*flags, environment={"TUSSERVER_URL_SECRET": SECRET})
    tus = Signed(sign_upload_url(SECRET, server.url, types=["image/png"]))
    part = tus.create(5, PARTIAL)
    joined = {"Upload-Concat": f"final;{part}"}
    answer = tus.post(joined)
    assert (answer.status, answer.code) == (400, "part_invalid")
    assert "complete" in answer.body.decode()
    assert tus.patch(part, 0, b"hello").status == 204
    assert tus.post(joined).status == 415
