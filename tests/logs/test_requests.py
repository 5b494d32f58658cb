"""Each request leaves one line that tells what became of it, and nothing that is secret."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.logs.lines import last_request, lines_of, requests_of
from tests.support.raw import OFFSET_STREAM, Tus
from tests.support.server import TusServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.logs.lines import Line

MADE = re.compile(r"[0-9a-f]{16}")
RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


@pytest.fixture(scope="module")
def module_server() -> Iterator[TusServer]:
    with TusServer("--log-format", "json", "--max-size", "1000000") as server:
        yield server
        server.check_log()


@pytest.fixture
def last(server: TusServer) -> Callable[[int], Line]:
    """Give the last of so many requests of this test."""
    before = len(requests_of(server))
    return lambda count: last_request(server, count=before + count)


@pytest.fixture
def tus(server) -> Tus:
    return Tus(server.url)


def test_a_line_tells_what_became_of_an_append(server, tus, last):
    target = tus.create(5)
    answer = tus.patch(target, 0, b"hel", {"X-Request-ID": "client-7"})
    assert answer.status == 204
    line = last(2)
    assert RFC_3339.fullmatch(line.pop("time"))
    assert 0 < line.pop("seconds") < 10
    assert line == {
        "level": "info",
        "logger": "tusserver.access",
        "message": f"PATCH {target} 204",
        "request_id": "client-7",
        "method": "PATCH",
        "path": target,
        "status": 204,
        "remote": "127.0.0.1",
        "upload": target.rpartition("/")[2],
        "offset_before": 0,
        "offset": 3,
        "received": 3,
        "end": "complete",
    }


def test_times_are_those_of_the_clock_in_utc(server, tus, last):
    tus.options()
    told = datetime.fromisoformat(last(1)["time"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 10


def test_a_creation_tells_the_upload_that_it_made(server, tus, last):
    target = tus.create(5)
    line = last(1)
    assert line["upload"] == target.rpartition("/")[2]
    assert "end" not in line


def test_a_download_tells_what_was_sent(server, tus, last):
    tus.content(tus.upload(b"hello"))
    assert last(3)["sent"] == 5


def test_the_method_is_the_one_that_holds(server, tus, last):
    target = tus.create(5)
    tus.request("POST", target, {"X-HTTP-Method-Override": "DELETE"})
    assert last(2)["method"] == "DELETE"


def test_a_refused_request_names_its_error_and_is_no_fault_of_the_server(server, tus, last):
    target = tus.create(5)
    tus.patch(target, 3, b"lo")
    line = last(2)
    assert (line["status"], line["error"], line["level"]) == (409, "offset_mismatch", "info")
    assert "offset_before" not in line


def test_a_look_at_an_append_that_goes_on_tells_the_offset_that_was_answered(server, tus):
    target = tus.create(1_000_000)
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "1000000"}
    with tus.wire() as wire, ThreadPoolExecutor() as pool:
        wire.send(tus.message("PATCH", target, fields))
        flow = pool.submit(wire.trickle, bytes(100_000), size=5000, pause=0.04)
        time.sleep(0.1)
        offset = tus.offset(target)
        flow.result()
    assert offset > 0

    def found() -> list[Line]:
        lines = requests_of(server)
        return [line for line in lines if line["message"].startswith(f"HEAD {target}")]

    assert eventually(lambda: bool(found()))
    assert found()[0]["offset"] == offset


def test_a_body_that_breaks_off_says_so_and_how_far_it_came(server, tus):
    target = tus.create(1000)
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "1000"}
    with tus.wire() as wire:
        wire.send(tus.message("PATCH", target, fields) + bytes(400))
        time.sleep(0.1)  # What has arrived when the connection ends is kept.

    def found() -> list[Line]:
        lines = requests_of(server)
        return [line for line in lines if line["message"].startswith(f"PATCH {target}")]

    assert eventually(lambda: bool(found()))
    line = found()[0]
    assert line["end"] == "disconnected"
    assert (line["offset_before"], line["offset"], line["received"]) == (0, 400, 400)


def test_the_query_which_may_be_a_credential_is_not_logged(server, tus, last):
    tus.request("POST", f"{tus.path}?token=s3cret", {"Upload-Length": "5"})
    tus.request("HEAD", f"{tus.path}{'0' * 32}?sig=s3cret")
    last(2)
    assert "s3cret" not in server.log


def test_neither_headers_nor_names_of_files_are_logged(server, tus, last):
    tus.create(
        5,
        {
            "Authorization": "Bearer s3cret",
            "Upload-Metadata": "filename czNjcmV0LnR4dA==",
            "Cookie": "s3cret",
        },
    )
    last(1)
    assert "s3cret" not in server.log
    assert "czNjcmV0" not in server.log


def test_a_fault_of_the_server_is_a_warning_with_its_reason(make_server):
    server = make_server("--log-format", "json", "--no-access-log", "--reserve", "1000TiB")
    tus = Tus(server.url)
    tus.options()
    assert tus.post({"Upload-Length": "5"}, b"").status == 507
    line = last_request(server, count=1)
    assert (line["level"], line["error"]) == ("warning", "storage_full")
    assert "not enough space" in line["reason"]
    # OPTIONS went well: without an access log there is no line of it.
    assert len(requests_of(server)) == 1


def test_lines_that_a_request_causes_carry_its_id(make_server):
    server = make_server("--log-format", "json", "--reserve", "1000TiB")
    Tus(server.url).post({"Upload-Length": "5", "X-Request-ID": "who-asked"})
    assert eventually(lambda: len(requests_of(server)) == 1)
    caused = [line for line in lines_of(server) if line["logger"] == "tusserver.storage.space"]
    assert [line["request_id"] for line in caused] == ["who-asked"]
    started = [line for line in lines_of(server) if "process" in line["logger"]]
    assert all("request_id" not in line for line in started)


# --- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "5f0c-11", "x" * 64, "Root=1-67891233-abcdef01"])
def test_the_id_of_a_client_is_taken_and_answered(server, tus, last, given):
    assert tus.options(fields={"X-Request-ID": given}).get("X-Request-ID") == given
    assert last(1)["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x" * 65,
        "a b",
        'a"b',
        "a\tb",
        "caf\u00e9",
        "<script>",
        "a,b",
        ["one", "two"],
        "a%0ab",
        "$(x)",
    ],
    ids=repr,
)
def test_an_id_that_is_not_plain_is_replaced(server, tus, last, given):
    told = tus.options(fields={"X-Request-ID": given}).get("X-Request-ID") or ""
    assert MADE.fullmatch(told), told
    assert last(1)["request_id"] == told


def test_refusals_and_downloads_carry_the_id_too(tus):
    target = tus.upload(b"hello")
    for answer in (tus.get(target), tus.head(tus.path + "0" * 32), tus.post({})):
        assert MADE.fullmatch(answer.get("X-Request-ID") or ""), answer
