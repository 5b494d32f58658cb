"""Imports go downwards only; the floors are those of docs/architecture.md."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[1] / "tusserver"

FLOORS = {
    "account": 3,
    "caller": 1,
    "errors": 1,
    "upload": 1,
    "body": 2,
    "options": 2,
    "protocol": 2,
    "values": 2,
    "config": 3,
    "auth": 4,
    "gates": 3,
    "ports": 3,
    "engine": 4,
    "hooks": 4,
    "logs": 4,
    "measures": 3,
    "metrics": 4,
    "quota": 4,
    "state": 4,
    "storage": 4,
    "check": 5,
    "compose": 5,
    "page": 5,
    "process": 5,
    "uploader": 5,
    "web": 5,
    "__main__": 7,
    "cli": 7,
    "commands": 6,
}
"""Each room of the house, a module or a folder, and the floor it is on."""

PURE = "protocol"
IMPURE = {
    "aiofiles", "aiohttp", "asyncio", "io", "logging", "multiprocessing", "os", "pathlib",
    "random", "redis", "secrets", "select", "shutil", "signal", "socket", "subprocess",
    "tempfile", "threading", "time", "uuid",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today"}


@dataclass(frozen=True, slots=True)
class Import:
    """One import: who, what (dotted, absolute), where."""

    module: str
    target: str
    line: int

    @property
    def room(self) -> str:
        return _room(self.module)


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(source: str, module: str) -> Iterator[Import]:
    """Give every import of a source, those for types only as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            yield from _from_import(node, module)


def _from_import(node: ast.ImportFrom, module: str) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        above = module.split(".")[: -node.level]
        base = ".".join([*above, base] if base else above)
    if base == "tusserver":  # What is imported are rooms.
        for alias in node.names:
            yield Import(module, f"tusserver.{alias.name}", node.lineno)
    else:
        yield Import(module, base, node.lineno)


def complaints(source: str, module: str) -> list[str]:
    """Say what is wrong with the imports and calls of a source."""
    found = []
    for one in imports(source, module):
        reason = _complaint(one)
        if reason is not None:
            found.append(f"{module}:{one.line} imports {one.target}: {reason}")
    if _room(module) == PURE:
        found += [f"{module}:{line} reads a clock" for line in _clock_reads(source)]
        found += [f"{module}:{line} waits" for line in _waits(source)]
    return found


def _complaint(one: Import) -> str | None:
    package = one.target.partition(".")[0]
    if package != "tusserver":
        return "the protocol is pure" if one.room == PURE and package in IMPURE else None
    own, other = one.room, _room(one.target)
    if own in {"", other}:  # The root of the package shows what it likes.
        return None
    for room in (own, other):
        if room not in FLOORS:
            return f"{room} has no floor"
    if FLOORS[other] > FLOORS[own]:
        return "upwards"
    if FLOORS[other] == FLOORS[own] and not _may_meet(own, other):
        return "siblings meet through ports"
    return None


def _may_meet(own: str, other: str) -> bool:
    """Tell whether two rooms of one floor may know each other: in one folder, yes."""
    # compose is the place where everything is put together.
    return own == "compose" or not ((PACKAGE / own).is_dir() or (PACKAGE / other).is_dir())


def _clock_reads(source: str) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS
    ]


def _waits(source: str) -> list[int]:
    kinds = ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def _modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


@pytest.mark.parametrize(("module", "path"), _modules(), ids=str)
def test_imports_go_downwards(module: str, path: Path) -> None:
    if path.name == "__init__.py" and module != "tusserver":
        module += ".__init__"
    assert complaints(path.read_text(encoding="utf-8"), module) == []


def test_every_room_has_a_floor() -> None:
    rooms = {_room(module) for module, _ in _modules()} - {""}
    assert rooms <= set(FLOORS)


BAD = {
    "upwards": ("tusserver.protocol.rules", "from tusserver.ports import Storage"),
    "upwards, for types": (
        "tusserver.engine.core",
        "if TYPE_CHECKING:\n    from tusserver.web.app import tus_app",
    ),
    "upwards, from the root": ("tusserver.ports", "from tusserver import compose"),
    "upwards, plain": ("tusserver.upload", "import tusserver.protocol.headers"),
    "upwards, relative": ("tusserver.state.redis", "from ..web import app"),
    "to a sibling, a module": (
        "tusserver.protocol.rules",
        "from tusserver.body import Body",
    ),
    "to a sibling": ("tusserver.state.local", "from tusserver.storage.local import LocalStorage"),
    "a clock in the protocol": ("tusserver.protocol.rules", "import time"),
    "a clock read in the protocol": ("tusserver.protocol.rules", "datetime.now(UTC)"),
    "aiohttp in the protocol": ("tusserver.protocol.tus1", "from aiohttp import web"),
    "waiting in the protocol": ("tusserver.protocol.tus1", "async def wait(): ..."),
    "a new room": ("tusserver.attic.box", "from tusserver.errors import TusError"),
}
GOOD = {
    "downwards": ("tusserver.engine.core", "from tusserver.ports import Storage"),
    "in one room": ("tusserver.engine.core", "from tusserver.engine.work import Work"),
    "in one room, relative": ("tusserver.engine.core", "from .work import Work"),
    "what composes": ("tusserver.compose", "from tusserver.web.app import tus_app"),
    "the root": ("tusserver", "from tusserver.web.app import tus_app"),
}


@pytest.mark.parametrize(("module", "source"), BAD.values(), ids=BAD)
def test_a_bad_import_is_complained_about(module: str, source: str) -> None:
    assert complaints(source, module)


@pytest.mark.parametrize(("module", "source"), GOOD.values(), ids=GOOD)
def test_a_good_import_is_not(module: str, source: str) -> None:
    assert complaints(source, module) == []
