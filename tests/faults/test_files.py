"""Files that are removed behind the server's back: told, and never served as something else."""

from __future__ import annotations

import pytest

from tests.faults.clients import Upload, digest
from tests.support.raw import Tus
from tests.support.served import Served

MIB = 1024 * 1024
PIECE = 100_000
WHAT = {"data": (True, False), "ledger": (False, True), "both": (True, True)}
each = pytest.mark.parametrize("what", WHAT)


def remove(server, upload, what):
    path = server.data_file(upload.target)
    for is_meant, file in zip(WHAT[what], (path, path.with_suffix(".meta")), strict=True):
        if is_meant:
            file.unlink()


@each
def test_files_that_are_removed_between_requests(make_server, state_url, dice, what):
    server = make_server(state=state_url)
    tus = Tus(server.url)
    upload, done = Upload(tus, dice.randbytes(MIB)), Upload(tus, dice.randbytes(MIB)).complete()
    upload.send(PIECE)
    for each_one in (upload, done):
        remove(server, each_one, what)
    if what == "ledger" and state_url != "local":
        # Redis has the record, and the ledger is written anew.
        upload.complete()
        assert server.data_file(upload.target).with_suffix(".meta").exists()
        done.check()
        return
    assert tus.patch(upload.target, PIECE, upload.data[PIECE:]).status == 404
    assert tus.head(upload.target).status == 404
    assert tus.get(done.target).status == 404
    if what == "data":
        assert server.said("look for who deletes files in the upload directory"), server.log
    Upload(tus, upload.data).complete()


@each
def test_files_that_are_removed_while_bytes_arrive(make_server, state_url, dice, what):
    server = make_server(state=state_url)
    tus = Served(server)
    upload = Upload(tus, dice.randbytes(MIB))
    with tus.wire() as wire:
        size = {"Content-Length": str(MIB)}
        wire.send(tus.append_message(upload.target, 0, upload.data[: MIB // 2], size))
        assert tus.holds(upload.target, upload.data[: MIB // 2])
        remove(server, upload, what)
        wire.send(upload.data[MIB // 2 :])
        answer = wire.response("PATCH")
    if what != "ledger":
        assert server.said("look for who deletes files"), server.log
    server.kill()
    server.start()
    tus = Tus(server.url)
    found = tus.get(upload.target)
    if what == "ledger":
        assert answer.status == 204
        assert digest(found.body) == digest(upload.data)
        return
    assert (answer.status, answer.code) == (503, "storage_fault")
    assert found.status == 404
    assert tus.patch(upload.target, 0, upload.data).status == 404
    Upload(tus, upload.data).complete()
