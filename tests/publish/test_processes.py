"""Processes of one store that finish files of the same name at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hooks.receivers import receiving
from tests.support.raw import Tus
from tests.support.waiting import eventually

UPLOADS = 24
FILM = {"Upload-Metadata": "filename ZmlsbS5tcDQ="}


@pytest.mark.timeout(100)
@pytest.mark.parametrize("collision", ["number", "id"])
def test_each_file_has_a_name_of_its_own_and_each_event_tells_it(
    tmp_path, make_server, state_url, collision
):
    films = tmp_path / "films"
    with receiving() as receiver:
        flags = ("--publish", "{name}", "--publish-dir", str(films), "--digest", "sha-256")
        flags += ("--publish-collision", collision)
        flags += ("--webhook-url", receiver.url, "--webhook-events", "post-finish")
        first = make_server(*flags, state=state_url)
        second = make_server(*flags, state=state_url, upload_dir=first.upload_dir)
        start = threading.Barrier(UPLOADS)

        def upload(number: int) -> tuple[str, bytes]:
            tus, data = Tus((first, second)[number % 2].url), b"%d" % number * 5000
            target = tus.create(len(data), FILM)
            start.wait(30)
            assert tus.patch(target, 0, data).status == 204
            return target.rpartition("/")[2], data

        with ThreadPoolExecutor(UPLOADS) as pool:
            made = dict(pool.map(upload, range(UPLOADS)))
        assert eventually(lambda: len(receiver.of("post-finish")) >= UPLOADS, within=45)
        told = {}
        for got in receiver.of("post-finish"):
            tusserver = got.message["Tusserver"]
            assert tusserver["Digest"].startswith("sha-256=:")
            assert told.setdefault(got.upload_id, tusserver["Published"]) == tusserver["Published"]
    assert {path.name for path in films.iterdir()} == set(told.values())
    assert len(set(told.values())) == UPLOADS
    assert {name: (films / path).read_bytes() for name, path in told.items()} == made
