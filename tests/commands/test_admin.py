"""What an operator sees of a store, and removes from it, while a server runs on it."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.commands.conftest import ROOT, Operator
from tests.support.ports import free_port
from tests.support.raw import OFFSET_STREAM, Tus, Wire
from tests.support.waiting import eventually
from tusserver.storage.ledger import format_slot, parse_ledger, slot_at


@pytest.fixture
def tus(server):
    return Tus(server.url)


def create(tus, length=10, body=b"", **fields):
    """Make an upload; give its id."""
    more = {name.replace("_", "-"): value for name, value in fields.items()}
    if body:
        more["Content-Type"] = OFFSET_STREAM
    answer = tus.post({"Upload-Length": str(length), **more}, body)
    assert answer.status == 201, answer
    return answer.get("Location").rpartition("/")[2]


def expire(operator, upload_id, *, seconds=60):
    """Let the time of an upload be up, as its ledger and Redis know it."""
    rewrite(operator, upload_id, expires_at=datetime.fromtimestamp(time.time() - seconds, tz=UTC))


def rewrite(operator, upload_id, **changes):
    """Change an upload in its ledger, which Redis follows."""
    path = operator.upload_dir / upload_id[:2] / f"{upload_id}.meta"
    data = path.read_bytes()
    store_id = re.search(rb'"store": "([0-9a-f]+)"', data)[1].decode()
    record = parse_ledger(data, upload_id=upload_id, store_id=store_id).record
    moved = record.next(**changes)
    with path.open("r+b") as ledger:
        ledger.seek(slot_at(moved.version))
        ledger.write(format_slot(moved))


# --- list and show ------------------------------------------------------------------------


def test_uploads_are_listed_in_the_order_of_their_ids_page_by_page(tus, operator):
    ids = sorted(create(tus) for _ in range(5))
    assert [found["id"] for found in operator.json("list")] == ids
    first = operator.run("list", "--limit=2")
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["ID", *ids[:2]]
    assert f"--after {ids[1]}" in first.stderr
    rest = operator.json("list", "--limit=0", "--after", ids[1])
    assert [found["id"] for found in rest] == ids[2:]


def test_the_columns_say_what_people_want_to_know(tus, operator):
    name = b64encode(b"x").decode()
    half = create(tus, 3 * 2**19, bytes(2**20), Upload_Metadata=f"filename {name}")
    done = create(tus, 5, b"hello")
    deferred = tus.post({"Upload-Defer-Length": "1"}).get("Location").rpartition("/")[2]
    head, *rows = operator.lines("list")
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    assert all(row[start - 1] == " " for row in rows for start in starts[1:])
    cells = {row.split()[0]: re.split(r" {2,}", row) for row in rows}
    assert cells[half][1:6] == ["open", "single", "1.0 MiB", "1.5 MiB", "66%"]
    assert cells[half][7] == "in 6d 23h"
    assert cells[done][1:6] == ["complete", "single", "5 B", "5 B", "100%"]
    assert cells[done][7] == "never"
    assert cells[deferred][3:6] == ["0 B", "?", "?"]


def test_uploads_are_listed_by_status_and_expiry(tus, operator):
    opened, done, over = create(tus), create(tus, 5, b"hello"), create(tus)
    expire(operator, over)

    def ids(*words):
        return {found["id"] for found in operator.json("list", *words)}

    assert ids("--status=open") == {opened, over}
    assert ids("--status=complete") == {done}
    assert ids("--expired") == {over}
    assert ids("--owner=somebody") == set()
    wrong = operator.run("list", "--status=lost")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("tusserver: --status: invalid choice: 'lost'")
    wrong = operator.run("list", "--after=x")
    assert wrong.returncode == 2
    assert wrong.stderr == "tusserver: --after=x: not the id of an upload\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["list", "--limit=-1"], "tusserver: --limit: not a number: -1"),
        (["show"], "tusserver: flags: the following arguments are required: ID"),
        (["remove"], "tusserver: flags: the following arguments are required: ID"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_was_asked_wrongly_ends_with_status_2(place, words, line):
    done = Operator(place, "local").run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{line}\n"
    assert not place.exists()


SCHEMA = {
    "id": str,
    "status": str,
    "kind": str,
    "offset": int,
    "length": int,
    "synced": int,
    "created_at": str,
    "expires_at": str,
    "expired": bool,
    "owner": str,
    "grant": str,
    "metadata": dict,
    "metadata_raw": str,
    "parts": list,
    "assembled": bool,
    "pinned_by": list,
    "digest": str,
    "event": str,
    "version": int,
    "holder": dict,
    "data": str,
    "ledger": str,
}


def test_every_field_is_documented():
    page = (ROOT / "docs" / "admin.md").read_text(encoding="utf-8")
    table = page.partition("| field | |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall("`([a-z_]+)`", " ".join(first))) == set(SCHEMA)


def test_everything_is_shown_of_an_upload_that_is_being_written(server, tus, operator):
    text, binary = b64encode("na\u00efve\x1b[1m".encode()).decode(), b64encode(b"\xff").decode()
    raw = f"filename {text},key {binary},empty"
    upload_id = create(tus, 10, Upload_Metadata=raw)
    with tus.wire() as wire:
        begin(tus, wire, upload_id, b"12345")
        assert eventually(lambda: operator.show(upload_id)["holder"])
        found = operator.show(upload_id)
        lines = operator.lines("show", upload_id)
    assert {name: type(value) for name, value in found.items()} == SCHEMA
    assert found["holder"]["pid"] == server.pid
    assert found["metadata"] == {"filename": "na\u00efve\x1b[1m", "key": None, "empty": ""}
    assert found["metadata_raw"] == raw
    assert (found["status"], found["kind"], found["length"]) == ("open", "single", 10)
    assert Path(found["data"]).samefile(server.data_file(upload_id))
    assert Path(found["ledger"]).exists()
    assert datetime.fromisoformat(found["expires_at"]) > datetime.fromisoformat(found["created_at"])
    shown = {line[:17].rstrip(): line[19:] for line in lines}
    assert shown["metadata filename"] == r"na\u00efve\x1b[1m".replace(r"\u00ef", "\u00ef")
    assert shown["writer"].startswith(f"process {server.pid} since 20")
    [listed] = operator.json("list")
    assert set(listed) == set(SCHEMA)


def begin(tus, wire: Wire, upload_id, data):
    """Begin an append whose body does not end."""
    fields = {"Upload-Offset": "0", "Content-Type": OFFSET_STREAM, "Content-Length": "10"}
    wire.send(tus.message("PATCH", f"{tus.path}{upload_id}", fields) + data)


def test_parts_and_what_is_made_of_them_are_shown(tus, operator):
    parts = [create(tus, 5, b"hello", Upload_Concat="partial") for _ in range(2)]
    urls = " ".join(f"{tus.path}{part}" for part in parts)
    answer = tus.post({"Upload-Concat": f"final;{urls}"})
    final = answer.get("Location").rpartition("/")[2]
    assert eventually(lambda: operator.show(final)["assembled"])
    found = operator.show(final)
    assert (found["kind"], found["parts"], found["length"]) == ("final", parts, 10)
    assert operator.show(parts[0])["kind"] == "partial"
    lines = operator.lines("show", final)
    assert [line.split()[1] for line in lines if line.startswith("part ")] == parts


def test_what_is_not_there_ends_with_status_3(operator):
    for name in ("0" * 32, "x", "../../etc/passwd", "A" * 32):
        shown, removed = operator.run("show", name), operator.run("remove", name)
        assert (shown.returncode, shown.stdout) == (3, "")
        assert shown.stderr == f"tusserver: there is no upload {name}\n"
        assert (removed.returncode, removed.stdout) == (3, "")
        assert removed.stderr == f"tusserver: {name}: there is no such upload\n"


def test_what_the_state_store_lost_or_the_disk_is_listed_all_the_same(
    tus, operator, state_url, redis_server
):
    kept, unknown = sorted(create(tus) for _ in range(2))
    if state_url != "local":
        (operator.upload_dir / kept[:2] / f"{kept}.meta").unlink()
        redis_server.cli("DEL", f"tus:{{{unknown}}}")
    assert [found["id"] for found in operator.json("list")] == [kept, unknown]


def test_who_reads_a_list_may_stop_reading_it(tus, operator):
    for _ in range(3):
        create(tus)
    command = " ".join(operator.arguments("list", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        env=operator.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- remove -------------------------------------------------------------------------------


def test_uploads_are_removed_and_one_that_is_not_there_does_not_keep_the_others(tus, operator):
    opened, done, stays = create(tus), create(tus, 5, b"hello"), create(tus)
    missing = "f" * 32
    result = operator.run("remove", "--json", opened, missing, done)
    assert result.returncode == 3
    assert [line for line in result.stdout.splitlines() if "false" in line] == [
        f'{{"id": "{missing}", "removed": false, "reason": "upload_not_found"}}'
    ]
    assert [found["id"] for found in operator.json("list")] == [stays]
    assert tus.head(f"{tus.path}{done}").status == 404
    assert not list(operator.upload_dir.glob(f"??/{done}*"))
    assert operator.lines("remove", stays) == [f"removed {stays}"]


def test_a_running_append_of_a_server_is_stopped(tus, operator):
    upload_id = create(tus)
    with tus.wire() as wire:
        begin(tus, wire, upload_id, b"12345")
        assert eventually(lambda: operator.show(upload_id)["holder"])
        before = time.monotonic()
        assert operator.run("remove", upload_id).returncode == 0
        assert time.monotonic() - before < 5
        answer = wire.response("PATCH")
    assert (answer.status, answer.code) == (423, "append_superseded")
    assert operator.run("show", upload_id).returncode == 3
    assert not list(operator.upload_dir.glob(f"??/{upload_id}*"))


def test_an_upload_that_a_stopped_process_holds_is_not_removed(server, tus, operator):
    upload_id = create(tus)
    with tus.wire() as wire:
        begin(tus, wire, upload_id, b"12345")
        assert eventually(lambda: operator.show(upload_id)["holder"])
        server.suspend()
        try:
            done = operator.run("remove", upload_id)
        finally:
            server.resume()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"tusserver: {upload_id}: a process holds it")
    assert f"process {server.pid} holds it" in done.stderr
    assert operator.show(upload_id)["status"] == "open"


def test_what_clients_no_longer_see_can_be_removed(tus, operator):
    over = create(tus)
    expire(operator, over)
    assert tus.head(f"{tus.path}{over}").status == 404
    assert operator.show(over)["expired"]
    assert operator.run("remove", over).returncode == 0
    assert operator.json("list") == []


# --- sweep --------------------------------------------------------------------------------


def test_what_is_over_goes_and_the_rest_stays(tus, operator):
    stays, done, over, held = create(tus), create(tus, 5, b"hello"), create(tus), create(tus)
    with tus.wire() as wire:
        begin(tus, wire, held, b"12345")
        assert eventually(lambda: operator.show(held)["holder"])
        expire(operator, over)
        expire(operator, held)
        orphan = operator.upload_dir / over[:2] / f"{over[:2]}{'0' * 30}"
        orphan.write_bytes(b"x")
        os.utime(orphan, (0, 0))

        dry = operator.json("sweep", "--dry-run")
        assert {line["id"]: (line["action"], line["reason"]) for line in dry[:-1]} == {
            over: ("would_remove", "expired"),
            held: ("kept", "in_use"),
        }
        kept = {"not_yet": 1, "never": 1, "in_use": 1, "pinned": 0}
        summary = {"dry_run": True, "removed": 1, "orphans": 1, "kept": kept}
        assert dry[-1] == {"summary": summary}
        text = operator.lines("sweep", "--dry-run")
        assert f"would remove {over} (0 B): expired 1m ago, servers wait 5m (--sweep-grace)" in text
        assert len(operator.json("list")) == 4
        assert orphan.exists()

        swept = operator.json("sweep")
        assert {line["id"]: line["action"] for line in swept[:-1]} == {
            over: "removed",
            held: "kept",
        }
        assert swept[-1]["summary"] == summary | {"dry_run": False}
        wire.send(b"67890")
        assert wire.response("PATCH").status == 204
    assert {found["id"] for found in operator.json("list")} == {stays, done, held}
    assert not orphan.exists()
    assert not list(operator.upload_dir.glob(f"??/{over}*"))
    [total] = operator.lines("sweep")
    assert total.startswith("removed 0 uploads, 0 files without an upload; kept 3: ")


def test_a_part_that_is_needed_is_not_swept(tus, operator):
    part, missing = [create(tus, 5, Upload_Concat="partial") for _ in range(2)]
    urls = " ".join(f"{tus.path}{name}" for name in (part, missing))
    final = tus.post({"Upload-Concat": f"final;{urls}"}).get("Location").rpartition("/")[2]
    assert operator.show(part)["pinned_by"] == [final]
    expire(operator, part)
    lines = operator.json("sweep", "--dry-run")
    assert {line.get("id"): line.get("reason") for line in lines[:-1]} == {part: "pinned"}
    refused = operator.run("remove", part)
    assert refused.returncode == 1
    assert "a final upload is being assembled from it" in refused.stderr


def test_an_empty_upload_whose_creation_a_crash_broke_off_is_swept(tus, operator):
    whole, left = create(tus, 0), create(tus)
    rewrite(operator, left, length=0)
    [found, _] = operator.json("sweep", "--dry-run")
    assert (found["id"], found["action"], found["reason"]) == (left, "would_remove", "unmade")
    with (operator.upload_dir / left[:2] / left).open("rb") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        [line, _] = operator.lines("sweep")
        assert line == f"kept {left} (0 B): its creation has not come to an end, but is in use"
    [line, _] = operator.lines("sweep")
    assert line == f"removed {left} (0 B): its creation was broken off"
    assert [found["id"] for found in operator.json("list")] == [whole]


# --- what is not there --------------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", "show", "remove", "sweep"])
def test_a_mistyped_directory_is_told_and_not_made(upload_dir, command):
    place = upload_dir / "mistyped"
    words = ["0" * 32] if command in {"show", "remove"} else []
    done = Operator(place, "local").run(command, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"tusserver: {place} holds no store: correct --upload-dir, or start a server on it\n"
    )
    assert list(upload_dir.iterdir()) == []


def test_a_mistyped_redis_is_told_and_not_claimed(make_server, place, start_redis, redis_server):
    right = redis_server.url
    make_server(upload_dir=place, state=right)
    wrong = start_redis()
    done = Operator(place, wrong.url).run("list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tusserver: {wrong.url} holds the records of no store: correct")
    assert wrong.cli("KEYS", "*") == []
    silent = Operator(place, f"redis://127.0.0.1:{free_port()}/0").run("list")
    assert silent.returncode == 1
    assert "does not answer: start it, or correct --state" in silent.stderr
    local = Operator(place, "local").run("list")
    assert local.returncode == 2
    assert "was made with state 'redis', not 'local'" in local.stderr
