"""Requests that are nearly right: a grammar of what clients send, and what chance does to it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

from tests.support.raw import OFFSET_STREAM, chunked, message

NUMBERS = [
    "", "-1", "+1", " 1", "1 ", "1_0", "0x10", "1e3", "1.0", "00", "9" * 18, str(2**63), str(2**64),
    "9" * 400, "\u0661", "1,2", "1;2", "NaN", "0", "1",
]  # fmt: skip
FIELDS = [
    "Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat",
    "Upload-Checksum", "Tus-Resumable", "Content-Length", "Transfer-Encoding", "Content-Type",
    "Content-Encoding", "Connection", "Expect", "Host", "Trailer", "TE", "Range", "If-Range",
    "X-HTTP-Method-Override", "Origin", "Access-Control-Request-Method", "Cookie", "Forwarded",
    "X-Forwarded-For", "X-Request-ID", "Authorization", "Upgrade", "Keep-Alive",
]  # fmt: skip
VALUES = [
    "chunked", "gzip", "identity", "chunked, chunked", "close", "keep-alive", "upgrade",
    "100-continue", "partial", "final;", "final;/files/x", "final;" + "/files/a " * 50, "PATCH",
    "DELETE", "TRACE", "sha1 AAAA", "md5 !", "crc32c AAAAAA==", "bytes=0-", "bytes=5-1",
    "bytes=-99999999999999999999", "bytes=0-0,2-2,1-", "1.0.0", "0.2.2", OFFSET_STREAM, "*/*",
    "a b", "filename aGVsbG8=,is_x", "filename \x01", "Upload-Checksum", "Host, Content-Length",
    "x" * 9000, ",,,,", "\x7f", "\xff\xfe", "h2c", "http://evil.example", "null",
]  # fmt: skip
SCRAPS = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"0\r\n\r\n", b"\xff\xfe", b"%00",
    b"HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n", b"\r\n ", b";", b"ffffffffffffffff\r\n", b"../" * 5,
]  # fmt: skip


class Mangler:
    """Writes what one client sends over one connection."""

    def __init__(self, tus, dice, targets):
        """Speak to a server about these uploads, with this chance."""
        self._tus, self._dice, self._targets = tus, dice, targets

    def conversation(self):
        """Give the bytes of one connection: a few requests, most of them spoilt."""
        dice = self._dice
        data = b"".join(self._spoilt() for _ in range(dice.choice([1, 1, 1, 2, 3, 5])))
        if dice.random() < 0.15:
            data = data[: dice.randrange(len(data) + 1)]
        return data

    def _spoilt(self):
        dice = self._dice
        method, target, fields, body = self._request()
        for _ in range(dice.choice([0, 0, 1, 1, 2])):
            method, target = self._bent(method, target, fields)
        version = dice.choice(["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/2.0", "HTTP/1.10", ""])
        head = message(method, target, fields, version=version)
        return self._torn(head, 0.15) + self._torn(body, 0.15)

    def _bent(self, method, target, fields):
        """Change one field, the method or the target of a request."""
        dice = self._dice
        name = dice.choice([*fields, *FIELDS])
        match dice.randrange(6):
            case 0:
                fields[name] = dice.choice(NUMBERS)
            case 1:
                fields[name] = dice.choice(VALUES)
            case 2:
                fields[name] = None
            case 3:
                now = fields.get(name)
                fields[name] = [now if isinstance(now, str) else "1", dice.choice(VALUES + NUMBERS)]
            case 4:
                method = dice.choice(["GET", "BREW", "head", "PRI", "CONNECT", "TRACE", "PUT", ""])
            case _:
                target += dice.choice(
                    ["/", "/..", "?a=b", "#x", "%2e", "%", " ", "\x80", "x" * 9000]
                )
        return method, target

    def _torn(self, data, chance):
        """Flip, cut, repeat or insert bytes."""
        dice = self._dice
        while data and dice.random() < chance:
            at = dice.randrange(len(data))
            to = min(len(data), at + dice.choice([1, 1, 2, 8, 40]))
            match dice.randrange(4):
                case 0:
                    data = data[:at] + dice.randbytes(to - at) + data[to:]
                case 1:
                    data = data[:at] + data[to:]
                case 2:
                    data = data[:to] + data[at:to] + data[to:]
                case _:
                    data = data[:at] + dice.choice(SCRAPS) + data[at:]
        return data

    def _request(self):
        """Give a request as clients send it: method, target, fields, body."""
        dice, tus = self._dice, self._tus
        target = dice.choice(self._targets)
        usual = {"Host": tus.authority, "Tus-Resumable": "1.0.0"}
        body = dice.randbytes(dice.choice([0, 1, 10, 3000, 70_000, 200_000]))
        stream = {"Content-Type": OFFSET_STREAM, "Upload-Offset": str(dice.choice([0, 0, 5]))}
        whole = {"Content-Length": str(len(body))}
        pieces = body[: len(body) // 2], body[len(body) // 2 :]
        digest = "Upload-Checksum: sha1 " + b64encode(sha1(body).digest()).decode()  # noqa: S324
        coded = {"Transfer-Encoding": "chunked"}
        makers = [
            lambda: ("OPTIONS", tus.path, usual, b""),
            lambda: ("POST", tus.path, {**usual, "Upload-Length": "10", "Content-Length": "0",
                                        "Upload-Metadata": "filename aGVsbG8=,x"}, b""),
            lambda: ("POST", tus.path, {**usual, **whole, "Upload-Length": str(len(body)),
                                        "Content-Type": OFFSET_STREAM}, body),
            lambda: ("POST", tus.path, {**usual, "Upload-Concat": f"final;{target} {target}",
                                        "Content-Length": "0"}, b""),
            lambda: ("PATCH", target, {**usual, **stream, **whole}, body),
            lambda: ("PATCH", target, {**usual, **stream, **coded}, chunked(*pieces)),
            lambda: ("PATCH", target, {**usual, **stream, **coded, "Trailer": "Upload-Checksum"},
                     chunked(*pieces, trailers=[digest])),
            lambda: ("PATCH", target, {**usual, **stream, **whole, "Expect": "100-continue"}, body),
            lambda: ("HEAD", target, usual, b""),
            lambda: ("GET", target, {**usual, "Range": "bytes=2-5"}, b""),
            lambda: ("DELETE", dice.choice([target, tus.path + "0" * 32]), usual, b""),
            lambda: ("POST", target, {**usual, "X-HTTP-Method-Override": "HEAD",
                                      "Content-Length": "0"}, b""),
        ]  # fmt: skip
        return dice.choice(makers)()
