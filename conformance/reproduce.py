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
_LONG = 64
_HEX = 32
_IDLE = (b"HEAD ", b"OPTIONS ", b"GET ")


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
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        head, body = b"", data
    lines = head.decode("utf-8", "backslashreplace").split("\r\n") if blank else []
    length = total - len(data) + len(body)
    if body:
        lines += ["", *_shown(body, length)] if blank else _shown(body, length)
    return lines


def _shown(body: bytes, length: int) -> list[str]:
    text = body[:_SHOWN].decode("utf-8", "replace")
    if not all(char.isprintable() or char in "\r\n\t" for char in text.replace("\ufffd", "\0")):
        more = " ..." if length > _HEX else ""
        return [f"({length} bytes, in hexadecimal: {body[:_HEX].hex(' ')}{more})"]
    lines = text.rstrip("\r\n").splitlines()
    return [*lines, f"({length} bytes, of which these are the first)"] if length > _SHOWN else lines


def one_line(exchanges: list[Exchange], culprit: Exchange) -> str:
    """Write a line for a POSIX shell that makes what is needed and repeats an exchange.

    Uploads that the check created are created again, as `$U1`, `$U2`, ...
    """
    upto = exchanges[: exchanges.index(culprit)] if culprit in exchanges else []
    known: dict[str, str] = {}
    steps = [_step(exchange, known) for exchange in _needed(upto, culprit)]
    return "; ".join([*steps, _command(culprit, known)])


def _needed(exchanges: list[Exchange], culprit: Exchange) -> list[Exchange]:
    """Choose the last requests that change something, and the creations of what they name."""
    changing = [one for one in exchanges if not one.sent.startswith(_IDLE)]
    needed: list[Exchange] = []
    rest = _STEPS
    for exchange in reversed(changing):
        path = _created(exchange)
        if path is None:
            rest -= 1
        names = any(path.encode() in one.sent for one in [culprit, *needed]) if path else rest >= 0
        if names:
            needed.insert(0, exchange)
    return needed


def _created(exchange: Exchange) -> str | None:
    """Give the path of the upload that a request created."""
    location = exchange.response.get("Location") if exchange.response is not None else None
    return None if location is None else urlsplit(urljoin(_origin(exchange), location)).path


def _step(exchange: Exchange, known: dict[str, str]) -> str:
    command, path = _command(exchange, known), _created(exchange)
    if path is None:
        return f"{command} >/dev/null 2>&1"
    location = (exchange.response.get("Location") or "") if exchange.response is not None else ""
    name = known[path] = f"U{len(known) + 1}"
    absolute = "" if "//" in location else f'; {name}="{_origin(exchange)}${name}"'
    return f"{name}=$({command} | sed -n 's/^[Ll]ocation: *//p' | tr -d '\\r'){absolute}"


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
    own = {"host": urlsplit(_origin(exchange)).netloc, "content-length": length}
    for name, value in fields:
        if own.get(name.lower()) != value:
            arguments += ["-H", f"{name}: {value}" if value else f"{name};"]
    if not any(name.lower() == "content-type" for name, _ in fields) and size:
        arguments += ["-H", "Content-Type:"]
    line = f"curl {_insert(shlex.join(arguments), known, _origin(exchange))}"
    source, data = _body(body, size)
    if data is None and any(name.lower() == "content-length" for name, _ in fields):
        line += " --data-binary ''" + (
            "" if "content-type" in _names(fields) else " -H Content-Type:"
        )
    elif data is not None:
        line += f" --data-binary {data}"
    return f"{source}{line} {_address(exchange, target, known)}"


def _insert(quoted: str, known: dict[str, str], origin: str) -> str:
    """Put the variables of uploads in the place of their paths inside of quoted words."""
    for path, name in known.items():
        for url in (origin + path, path):
            quoted = quoted.replace(url, f"""'"${name}"'""")
    return quoted


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
    head, blank, body = exchange.sent.partition(b"\r\n\r\n")
    size = exchange.sent_total - len(head) - len(blank)
    is_long = size > 4 * _LONG and body[:16] == bytes(16)
    is_long = is_long or exchange.sent_total > len(exchange.sent)
    text = _quoted(head + blank if is_long else exchange.sent)
    for path, name in known.items():
        text = text.replace(path, f"""'"$(echo "${name}" | sed 's|^[a-z]*://[^/]*||')"'""")
    more = f"; head -c {size} /dev/zero" if is_long else ""
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
