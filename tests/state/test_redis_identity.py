"""Which store a Redis belongs to, how it is reached, and how it is set up."""

from __future__ import annotations

import logging

import pytest

from tests.state.uploads import make_upload
from tusserver.errors import ConfigError
from tusserver.state.redis import RedisState
from tusserver.state.trouble import Complaints, remedy_for

pytestmark = pytest.mark.usefixtures("closing")


@pytest.fixture
async def opened():
    states = []

    def connect(url):
        states.append(RedisState(url))
        return states[-1]

    yield connect
    for state in states:
        await state.close()


@pytest.fixture
def closing(opened):
    """Close what a test opened also when it fails."""


async def test_an_empty_redis_is_claimed_and_that_is_logged(redis_server, opened, caplog):
    caplog.set_level(logging.INFO)

    await opened(redis_server.url).attach("store-a")
    await opened(redis_server.url).attach("store-a")

    assert redis_server.cli("GET", "tus:store") == "store-a"
    assert caplog.text.count("held no store id: it is new, or was flushed") == 1


async def test_the_redis_of_another_store_is_refused_until_it_is_adopted(redis_server, opened):
    await opened(redis_server.url).attach("store-a")
    state = opened(redis_server.url)

    with pytest.raises(ConfigError) as refusal:
        await state.attach("store-b")

    assert refusal.value.key == "state"
    for named in ("store-a", "store-b", "tusserver adopt", redis_server.url):
        assert named in refusal.value.message
    await state.adopt("store-b")
    await state.attach("store-b")
    with pytest.raises(ConfigError):
        await opened(redis_server.url).attach("store-a")


async def test_a_unix_socket_is_a_way_in(redis_server, opened, state):
    upload = make_upload()
    await opened(redis_server.unix_url).add(upload)

    assert await state.get(upload.upload_id) == upload


async def test_databases_of_one_redis_are_apart(redis_server, opened):
    first, second = (opened(redis_server.url[:-1] + number) for number in "12")
    await first.attach("store-a")
    await second.attach("store-b")
    upload = make_upload()
    await first.add(upload)

    assert await second.get(upload.upload_id) is None


async def test_settings_that_lose_records_are_warned_of_with_what_mends_them(
    start_redis, opened, caplog
):
    server = start_redis(appendonly="no", maxmemory_policy="allkeys-lru")
    state = opened(server.url)

    await state.attach("store-a")

    assert "CONFIG SET appendonly yes" in caplog.text
    assert "CONFIG SET maxmemory-policy noeviction" in caplog.text
    for command in ("appendonly yes", "maxmemory-policy noeviction"):
        server.cli(*f"CONFIG SET {command}".split())
    assert await state.check() == []


async def test_a_redis_that_keeps_its_settings_to_itself_is_not_complained_of(
    start_redis, opened, caplog
):
    server = start_redis(appendonly="no")
    server.cli("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-config")
    state = opened(f"redis://limited:pw@127.0.0.1:{server.port}/0")

    await state.attach("store-a")

    assert caplog.text == ""


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="empty"),
        pytest.param("http://host", id="another scheme"),
        pytest.param("redis://", id="no host"),
        pytest.param("redis://host/name", id="a database with a name"),
        pytest.param("redis://host:port", id="no port number"),
        pytest.param("redis://host:0", id="port 0"),
        pytest.param("redis://[::1", id="half an address"),
        pytest.param("unix://", id="no path"),
        pytest.param("unix://run/redis.sock", id="a path that is not absolute"),
        pytest.param("redis://host?retries=3", id="an unknown option"),
        pytest.param("redis://host?socket_timeout=x", id="a wrong option"),
        pytest.param("redis://:pw/x@host", id="a password that is not escaped"),
    ],
)
async def test_a_wrong_url_is_a_wrong_setting(url):
    with pytest.raises(ConfigError, match="expected redis://") as refusal:
        RedisState(url)

    assert refusal.value.key == "state"
    assert "pw" not in refusal.value.message


def test_errors_are_logged_every_five_seconds_at_most_and_counted(caplog):
    now = 100.0
    complaints = Complaints("redis://host/0", monotonic=lambda: now)
    for now in (100.0, 101.0, 104.9, 105.0, 106.0):  # noqa: B007
        complaints.failed(ConnectionRefusedError("refused"))

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "since the last line" not in lines[0]
    assert "(and 2 times since the last line)" in lines[1]


def test_an_error_without_a_word_still_gets_a_line(caplog):
    Complaints("redis://host/0").failed(TimeoutError())

    assert "failed (TimeoutError: no answer); it does not answer in time" in caplog.text


def test_an_unknown_error_asks_whether_redis_runs():
    assert remedy_for(OSError("what?")) == "is it running, and is the address right?"
