"""A bad network between client and server: cuts, a low rate, half-open connections, a death.

Directly, and behind the real nginx and HAProxy with the files of the deployment page.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clients import curl, tus_java, tus_js, tuspy
from tests.support.content import KIB, MIB, assert_arrived, make_file
from tests.support.lateness import Lateness
from tests.support.proxy import ANSWER, FIN, RST, seeded_cuts
from tests.support.raw import Tus
from tests.support.waiting import check_time, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clients import ClientRun
    from tests.support.proxy import Proxy
    from tests.support.ways import Way

SIZE = 8 * MIB + 77
RATE = 6 * MIB
CHUNK = 256 * KIB
CUTS = 5
SOON = 1.5
"""Seconds in which a client goes on whose connection was lost."""

CLIENTS: dict[str, Callable[..., ClientRun]] = {
    "tus-js-client": partial(tus_js, resume=True),
    "tus-js-client, in chunks by POST": partial(
        tus_js, resume=True, overridePatchMethod=True, chunkSize=CHUNK
    ),
    "tuspy, with checksums": partial(tuspy, upload_checksum=True, chunk_size=CHUNK),
    "tuspy-async, with checksums": partial(
        tuspy, asynchronous=True, upload_checksum=True, chunk_size=CHUNK
    ),
    "tus-java-client": tus_java,
    "curl": curl,
}


FEATURES: dict[str, dict[str, Any]] = {
    "three parts at once": {"parallelUploads": 3},
    "the length is deferred": {"stream": True, "uploadLengthDeferred": True},
    "data comes with the creation": {"uploadDataDuringCreation": True},
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", FEATURES.values(), ids=FEATURES)
def test_what_tus_js_client_knows_besides_arrives_through_cuts_and_a_lost_connection(
    way: Way, tmp_path: Path, options: dict[str, Any]
) -> None:
    size = 3 * MIB + 5
    file = make_file(tmp_path / "file", size)
    cuts = seeded_cuts(6, count=CUTS, mean=400 * KIB, kinds=[FIN, RST, ANSWER])
    options = {"chunkSize": CHUNK, "environment": way.environment, **options}
    with (
        way.network(cuts=cuts, rate=RATE) as network,
        tus_js(network.url, file, **options) as run,
    ):
        network.wait_until_forwarded(size // 2)
        assert eventually(lambda: network.lose() > 0)
        run.finish()
        assert network.cuts_made >= CUTS - 2
        # A chunk a cut and a lost connection, and the heads of all requests.
        assert network.forwarded - size <= (CUTS + 3) * CHUNK + MIB // 4
    assert_arrived(way.direct(run.url), size)


def test_an_upload_is_aborted_resumed_and_terminated(way: Way, tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", 4 * MIB)
    options = {"storage": tmp_path / "urls", "chunkSize": CHUNK, "environment": way.environment}
    with way.network(rate=RATE) as network:
        with tus_js(network.url, file, abort_after=MIB, **options) as run:
            run.settle()
            assert run.told("aborted")
        with tus_js(
            network.url, file, resume=True, abort_after=2 * MIB, terminate=True, **options
        ) as again:
            again.settle()
            assert again.urls == [run.url]
            assert again.statuses("DELETE") == [204]
        # No more than a chunk twice; nothing of what comes after it was deleted.
        assert network.forwarded <= 2 * MIB + 3 * CHUNK
    tus = Tus(way.server.url)
    assert tus.head(tus.target(way.direct(run.url))).status == 404
    assert not way.server.data_file(run.url).exists()


@pytest.mark.timeout(60)
@pytest.mark.clause("CORE-PATCH-17", "CLI-01")
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_an_upload_survives_cuts_half_open_connections_and_the_death_of_the_client(
    way: Way, tmp_path: Path, client: Callable[..., ClientRun]
) -> None:
    file = make_file(tmp_path / "file", SIZE)
    options = {"storage": tmp_path / "urls", "environment": way.environment}
    cuts = seeded_cuts(5, count=CUTS, mean=600 * KIB)
    with way.network(cuts=cuts, rate=RATE) as network:
        with client(network.url, file, **options) as run:
            url = run.wait_for("url")["url"]
            offsets = _watch(way.direct(url), network, until=SIZE // 3)
            network.lose(client_notices=False)
            run.kill()
        with client(network.url, file, **options) as run:
            network.wait_until_forwarded(network.forwarded + 2 * CHUNK)
            assert eventually(lambda: network.lose() > 0)
            with Lateness() as late:
                took = network.wait_until_forwarded(network.forwarded + CHUNK)
            check_time(took, SOON + late.leeway)
            run.finish()
            assert run.urls == [url]
        assert network.cuts_made == CUTS
        # Once a cut, a loss or a death: a chunk with a checksum, or what lay in buffers.
        assert network.forwarded - SIZE <= (CUTS + 2) * CHUNK
    # While the body streamed, as it was sent; once a chunk where that has a checksum.
    assert offsets == sorted(offsets)
    assert SIZE // 3 - (CUTS + 1) * CHUNK <= offsets[-1] < SIZE
    assert_arrived(way.direct(url), SIZE)


def _watch(url: str, network: Proxy, *, until: int) -> list[int]:
    """Ask for the offset, in parallel to the client, until so much was sent."""
    tus = Tus(url)
    offsets = []
    while network.forwarded < until:
        network.wait_until_forwarded(min(until, network.forwarded + CHUNK))
        offsets.append(tus.offset(tus.path))
    return offsets
