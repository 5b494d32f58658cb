"""How an exchange is shown to a person, and the one line for a shell that repeats it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from conformance.wire import KEPT

if TYPE_CHECKING:
    from conformance.wire import Exchange, Response

_SHOWN = 400
_STEPS = 12
_PLAIN = frozenset({"host", "content-length"})
_LONG = 64


def show_sent(exchange: Exchange) -> list[str]:
    """Write what was sent, a line each; a body is cut."""
    lines = _cut(exchange.sent, exchange.sent_total)
    return [*lines, f"({exchange.ending})"] if exchange.ending else lines


def show_response(exchange: Exchange) -> list[str]:
    """Write what came back, a line each."""
    response = exchange.response
    if response is None:
        return [f"({exchange.fault or 'nothing was waited for'})"]
    return [line for one in [*response.interim, response] for line in _response(one)]


def _response(response: Response) -> list[str]:
    head = [f"{response.version} {response.status} {response.reason}".rstrip()]
    fields = [f"{name}: {value}" for name, value in response.fields]
    body = ["", *_cut(response.body, len(response.body))] if response.body else []
    return [*head, *fields, *body]


def _cut(data: bytes, total: int) -> list[str]:
    text = data.decode("utf-8", "backslashreplace")
    head, blank, body = text.partition("\r\n\r\n")
    if not blank:
        head, body = "", text
    shown = "".join(char if char.isprintable() or char in "\r\n" else "." for char in body[:_SHOWN])
    lines = [*head.split("\r\n"), ""] if blank else []
    lines += shown.split("\r\n") if shown else []
    while lines and not lines[-1]:
        lines.pop()
    left = total - len(data) + max(len(body) - _SHOWN, 0)
    return [*lines, f"... and {left} bytes more"] if left > 0 else lines


def one_line(exchanges: list[Exchange], culprit: Exchange) -> str:
    """Write a line for a POSIX shell that makes what is needed and repeats an exchange.

    Uploads that the check created are created again, as `$U1`, `$U2`, ...
    """
    upto = exchanges[: exchanges.index(culprit)] if culprit in exchanges else []
    known: dict[str, str] = {}
    steps = [_step(exchange, known) for exchange in upto[-_STEPS:]]
    return "; ".join([*(step for step in steps if step), _command(culprit, known)])


def _step(exchange: Exchange, known: dict[str, str]) -> str:
    if exchange.sent[:5] in {b"HEAD ", b"OPTIO"}:
        return ""  # changes nothing
    response = exchange.response
    location = response.get("Location") if response is not None else None
    if location is None:
        return f"{_command(exchange, known)} >/dev/null 2>&1"
    name = f"U{len(known) + 1}"
    command = _command(exchange, known)
    line = f"{name}=$({command} | sed -n 's/^[Ll]ocation: *//p' | tr -d '\\r')"
    known[location] = name
    origin = _origin(exchange)
    path = urlsplit(urljoin(origin, location)).path
    known.setdefault(path, name)
    prefix = "" if "//" in location else origin
    return f'{line}; {name}="{prefix}${name}"'


def _origin(exchange: Exchange) -> str:
    scheme = "https" if exchange.is_tls else "http"
    host = f"[{exchange.host}]" if ":" in exchange.host else exchange.host
    return f"{scheme}://{host}:{exchange.port}"


def _command(exchange: Exchange, known: dict[str, str]) -> str:
    return _curl(exchange, known) or _netcat(exchange, known)


def _curl(exchange: Exchange, known: dict[str, str]) -> str | None:
    """Write it for curl; None where curl cannot send the same."""
    head, blank, body = exchange.sent.partition(b"\r\n\r\n")
    start, *lines = head.decode("utf-8", "backslashreplace").split("\r\n")
    words = start.split(" ")
    if not blank or exchange.ending or len(words) != 3 or words[2] != "HTTP/1.1":  # noqa: PLR2004
        return None
    method, target, _ = words
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((value for name, value in fields if name.lower() == "content-length"), "0")
    size = exchange.sent_total - len(head) - 4
    if not target.startswith("/") or length != str(size) or _is_odd(fields):
        return None
    arguments = ["-si", "--path-as-is"]
    arguments += ["-k", "--http1.1"] if exchange.is_tls else []
    arguments += ["-I"] if method == "HEAD" else ["-X", method]
    for name, value in fields:
        if name.lower() not in _PLAIN:
            arguments += ["-H", f"{name}: {value}" if value else f"{name};"]
    if not any(name.lower() == "content-type" for name, _ in fields) and size:
        arguments += ["-H", "Content-Type:"]
    line = f"curl {shlex.join(arguments)}"
    source, data = _body(body, size)
    if data is None and any(name.lower() == "content-length" for name, _ in fields):
        line += " --data-binary ''" + (
            "" if "content-type" in _names(fields) else " -H Content-Type:"
        )
    elif data is not None:
        line += f" --data-binary {data}"
    return f"{source}{line} {_address(exchange, target, known)}"


def _names(fields: list[tuple[str, str]]) -> set[str]:
    return {name.lower() for name, _ in fields}


def _is_odd(fields: list[tuple[str, str]]) -> bool:
    names = [name.lower() for name, _ in fields]
    return "transfer-encoding" in names or "expect" in names or names.count("content-length") > 1


def _body(body: bytes, size: int) -> tuple[str, str | None]:
    if size == 0:
        return "", None
    if (
        size <= min(_LONG, KEPT)
        and body.isascii()
        and body.decode().isprintable()
        and body[:1] != b"@"
    ):
        return "", shlex.quote(body.decode())
    if size <= len(body) and size <= 4 * _LONG:
        return f"printf {_quoted(body)} | ", "@-"
    return f"head -c {size} /dev/zero | ", "@-"


def _address(exchange: Exchange, target: str, known: dict[str, str]) -> str:
    name = known.get(target)
    return f'"${name}"' if name else shlex.quote(_origin(exchange) + target)


def _netcat(exchange: Exchange, known: dict[str, str]) -> str:
    """Write it for printf and nc (or openssl)."""
    tool = (
        f"openssl s_client -quiet -connect {exchange.host}:{exchange.port}"
        if exchange.is_tls
        else f"nc -w 5 {exchange.host} {exchange.port}"
    )
    text = _quoted(exchange.sent)
    for location, name in known.items():
        if location.startswith("/"):
            text = text.replace(location, f"""'"$(echo "${name}" | sed 's|^[a-z]*://[^/]*||')"'""")
    rest = exchange.sent_total - len(exchange.sent)
    more = f"; head -c {rest} /dev/zero" if rest else ""
    sent = f"(printf {text}{more}; sleep 2)"
    return f"{sent} | {tool}"


def _quoted(data: bytes) -> str:
    pieces = []
    for byte in data:
        char = chr(byte)
        if char == "\r":
            pieces.append("\\r")
        elif char == "\n":
            pieces.append("\\n")
        elif char in "\\'%" or not 32 <= byte < 127:  # noqa: PLR2004
            pieces.append(f"\\{byte:03o}")
        else:
            pieces.append(char)
    return f"'{''.join(pieces)}'"
