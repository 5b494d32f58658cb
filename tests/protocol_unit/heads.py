"""Request heads and commands of tus 1.0, for the tests of the dialect."""

from __future__ import annotations

from multidict import CIMultiDict

from tusserver.protocol.messages import Append, Create, Features, Head
from tusserver.protocol.tus1 import Tus1

A = "0123456789abcdef0123456789abcdef"
B = "fedcba9876543210fedcba9876543210"
SHA1_OF_NOTHING = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="
STREAM = "application/offset+octet-stream"

EXTENSIONS = frozenset(
    {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "termination",
        "expiration",
        "concatenation",
        "download",
    }
)
FEATURES = Features(extensions=EXTENSIONS, algorithms=("sha1", "md5"), max_size=1000, trailers=True)


def without(*names):
    return Features(extensions=EXTENSIONS - set(names), algorithms=("sha1", "md5"))


def head_of(method, segment=None, /, length=0, *, version="1.0.0", trail=True, **fields):
    """Make a head; in `fields` underscores stand for dashes, lists for several lines."""
    lines = [("Tus-Resumable", version)] if version is not None else []
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        lines += [(name.replace("_", "-"), line) for line in values]
    return Head(
        method=method,
        segment=segment,
        headers=CIMultiDict(lines),
        content_length=length,
        can_trail=trail,
    )


def parse(*args, features=FEATURES, **fields):
    return Tus1().parse(head_of(*args, **fields), features)


def patch(length=0, *, features=FEATURES, **fields):
    fields = {"Content_Type": STREAM, "Upload_Offset": "0"} | fields
    fields = {name: value for name, value in fields.items() if value is not None}
    command = parse("PATCH", A, length, features=features, **fields)
    assert isinstance(command, Append)
    return command


def create(length=0, *, features=FEATURES, **fields):
    fields = {"Upload_Length": "100"} | fields
    fields = {name: value for name, value in fields.items() if value is not None}
    command = parse("POST", None, length, features=features, **fields)
    assert isinstance(command, Create)
    return command
