"""How servers are called on the page."""

from __future__ import annotations

FLOOR = "aiohttp"
"""A handler that stores nothing: no peer, but what no server on aiohttp can be better than."""

_LABELS = {
    "tus-node-server": "@tus/server",
    "nginx": "nginx (PUT)",
    FLOOR: "aiohttp, storing nothing",
}
_WORDS = {
    "redis": "Redis",
    "auto": "ingest auto",
    "socket": "ingest socket",
    "portable": "ingest portable",
}


def label(server: str) -> str:
    """Give the name of a server for people: `tusserver, normal, Redis, 2 workers`."""
    kind, *words = server.split(":")
    told = [f"{word} workers" if word.isdigit() else _WORDS.get(word, word) for word in words]
    return ", ".join([_LABELS.get(kind, kind), *told])
