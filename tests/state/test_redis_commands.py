"""How often requests ask Redis, as its MONITOR hears the program: twice at most."""

from __future__ import annotations

import hashlib

import redis

from tests.support.raw import Tus
from tusserver.quota.lua import COMPARE

END = "the end of this request"
QUOTA = "tus:{quota}"
COMPARING = hashlib.sha1(COMPARE.encode()).hexdigest()  # noqa: S324 as Redis names scripts
"""What no request asks: limits are compared with the records beside them."""


class Listener:
    """Hears what Redis is asked about one upload, commands inside of scripts left out."""

    def __init__(self, client, commands):
        self._client = client
        self._commands = commands

    def names(self, upload_id, *, until=END):
        """Give the names of the commands so far, or up to one that names a key."""
        if until == END:
            self._client.echo(END)
        names = []
        for heard in self._commands.listen():
            command = heard["command"]
            concerns = upload_id in command and heard["client_type"] != "lua"
            concerns = concerns and COMPARING not in command
            if concerns:
                names.append(command.split()[0])
            if until in command and (concerns or until == END):
                return names
        raise AssertionError("the monitor ended")


def commands_of_an_upload(tus, listener):
    """Make an upload of two pieces; give what each request asked, by its name."""
    location = tus.post({"Upload-Length": "10"}).get("Location")
    upload_id = location.rsplit("/", 1)[-1]
    asked = {"POST": listener.names(upload_id)}
    assert tus.patch(location, 0, b"12345").status == 204
    asked["PATCH"] = listener.names(upload_id)
    assert tus.patch(location, 5, b"67890").status == 204
    # The end frees a place among the open uploads: counted at once, but not on the client's time.
    asked["last PATCH"] = listener.names(upload_id, until=QUOTA)
    assert tus.head(location).offset == 10
    asked["HEAD"] = listener.names(upload_id)
    return asked


def test_a_request_asks_redis_twice_at_most(make_server, redis_server):
    tus = Tus(make_server(state=redis_server.url).url)
    with redis.Redis(port=redis_server.port) as client, client.monitor() as commands:
        listener = Listener(client, commands)
        commands_of_an_upload(tus, listener)  # Now Redis knows the scripts.

        asked = commands_of_an_upload(tus, listener)

    assert asked == {
        "POST": ["EVALSHA", "EVALSHA"],
        "PATCH": ["HGET", "EVALSHA"],
        "last PATCH": ["HGET", "EVALSHA", "EVALSHA"],
        "HEAD": ["HGET"],
    }
    assert sum(map(len, asked.values())) <= 2 * len(asked)
