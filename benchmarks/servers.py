"""The servers that are compared: how each is started, and what it uses while it runs.

A server is named by a word, ours with what it is started with: `tusserver`, `tusserver:process`,
`tusserver:process:redis:2` (durability, state, worker processes; also `auto`, `memory`,
`socket`, `portable`: the way bodies are received). Each writes into a directory of its own, logs
what it logs by default into a file, and is left at its defaults otherwise; what differs from them
stands in this file.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import processes
from benchmarks.naming import FLOOR

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / ".bench"
"""Where `--prepare` puts the peers that registries have; git does not see it."""
PATIENCE = 20.0
QUIET_CPU = 0.002
LARGE = 1 << 20

PUT = frozenset({"bytes", "put"})
TUS = frozenset({"bytes", "tus"})
CONCATENATION = TUS | {"concatenation"}
CHECKSUM = CONCATENATION | {"checksum"}


class Unavailable(Exception):
    """A server cannot be started here; the message says what to do about it."""


@dataclass(slots=True)
class Running:
    """A server that runs, with all its processes."""

    name: str
    url: str
    """Where uploads are created; for one that takes PUT, below which files are written."""
    directory: Path
    """What it writes; files stay until the end of the run."""
    abilities: frozenset[str]
    process: subprocess.Popen[bytes]
    log: Path
    beside: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Other programs that it needs and that count as its own: Redis."""
    command: list[str] = field(default_factory=list)
    """What it was started with at first."""

    @property
    def place(self) -> tuple[str, int]:
        """Give host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    @property
    def path(self) -> str:
        """Give the path of the URL."""
        return urlsplit(self.url).path

    def pids(self) -> list[int]:
        """Give every process of the server."""
        return processes.tree([self.process.pid, *(one.pid for one in self.beside)])

    def cpu(self) -> float:
        """Give the seconds of CPU, user and system, that all its processes have used."""
        return processes.cpu(self.pids())

    def rss(self) -> int:
        """Give the bytes of memory that its processes hold, Redis left out."""
        return processes.rss(processes.tree([self.process.pid]))

    def peak(self) -> int:
        """Give the most bytes of memory that they ever held, Redis left out."""
        return processes.peak(processes.tree([self.process.pid]))

    async def quiet(self, within: float = 3.0) -> None:
        """Wait until it does nothing any more: what is done after an answer counts, too."""
        before, deadline = self.cpu(), time.monotonic() + within
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            now = self.cpu()
            if now - before < QUIET_CPU:
                return
            before = now

    def release(self) -> None:
        """Give back the blocks of large files but keep the files.

        A file system that has just removed many files looks for free places slowly, and the disk
        is not large enough for all that is written in a run.
        """
        for folder, _, names in os.walk(self.directory):
            for name in names:
                path = Path(folder, name)
                if path.stat().st_size >= LARGE and ".tusserver" not in folder:
                    os.truncate(path, 0)

    @property
    def state(self) -> str:
        """Give what one of ours was told to keep its state in: `local`, or the URL of a Redis."""
        found = (word[8:] for word in self.command if word.startswith("--state="))
        return next(found, "local")

    async def end(self) -> None:
        """End it, but nothing that belongs to it."""
        await asyncio.to_thread(_end, self.process)

    def restart(self, *more: str) -> float:
        """Start it again with more settings; give the seconds until it took connections."""
        before = time.perf_counter()
        self.process = _run([*self.command, *more], self.log, {})
        _await(self.process, self.place[1], self.log)
        return time.perf_counter() - before

    def stop(self) -> None:
        """End it and what belongs to it."""
        for one in (self.process, *self.beside):
            _end(one)


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the peers are that no registry has as a program."""

    tusd: Path | None = None
    rustus: Path | None = None


def start(name: str, directory: Path, paths: Paths) -> Running:
    """Start the server of this name; what it writes comes below `directory`.

    Raises: Unavailable.
    """
    directory.mkdir(parents=True)
    kind, _, words = name.partition(":")
    if kind == "tusserver":
        return _start_ours(name, directory, words.split(":") if words else [])
    starts = {
        "tus-node-server": _start_node,
        "tuspyserver": _start_tuspyserver,
        "nginx": _start_nginx,
        FLOOR: _start_bare,
    }
    if kind in starts:
        return starts[kind](directory)
    if kind == "tusd":
        return _start_tusd(directory, paths.tusd)
    if kind == "rustus":
        return _start_rustus(directory, paths.rustus)
    raise Unavailable(f"{name}: no such server")


# --- ours ---------------------------------------------------------------------------------


def flags(words: list[str]) -> list[str]:
    """Translate the words of a name of ours into settings; `redis` is no setting yet.

    Raises: Unavailable.
    """
    found: list[str] = []
    for word in words:
        if word in {"process", "normal", "strict"}:
            found.append(f"--durability={word}")
        elif word.isdigit():
            found.append(f"--workers={word}")
        elif word in {"auto", "memory", "socket", "portable"}:
            found.append(f"--ingest={word}")
        elif word != "redis":
            raise Unavailable(f"tusserver: the word {word} means nothing")
    return found


def _start_ours(name: str, directory: Path, words: list[str]) -> Running:
    uploads, port = directory / "uploads", free_port()
    command = [sys.executable, "-m", "tusserver", f"--port={port}", f"--upload-dir={uploads}"]
    # More than may be open by default where nobody proves who he is; they are counted all the same.
    command += ["--max-open=10000000", *flags(words)]
    beside: list[subprocess.Popen[bytes]] = []
    if "redis" in words:
        redis, url = start_redis(directory)
        beside.append(redis)
        command.append(f"--state={url}")
    url = f"http://127.0.0.1:{port}/files/"
    return _launch(
        command, name=name, url=url, directory=uploads, abilities=CHECKSUM, beside=beside
    )


def start_redis(directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Redis that writes each second what it was told; give it and its URL."""
    folder = directory / "redis"
    folder.mkdir()
    port = free_port()
    command = [_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
    command += ["--dir", str(folder)]
    process = _run(command, folder / "log", {})
    _await(process, port, folder / "log")
    return process, f"redis://127.0.0.1:{port}/0"


# --- the peers ----------------------------------------------------------------------------


def _start_node(directory: Path) -> Running:
    script, port = BENCH / "node" / "server.mjs", free_port()
    if not script.exists():
        raise Unavailable("tus-node-server: python -m benchmarks --prepare installs it")
    files = directory / "files"
    files.mkdir()
    command = [_program("node"), str(script), str(port), str(files)]
    url = f"http://127.0.0.1:{port}/files"
    return _launch(command, name="tus-node-server", url=url, directory=files, abilities=TUS)


def _start_tuspyserver(directory: Path) -> Running:
    python, port = BENCH / "python" / "bin" / "python", free_port()
    if not python.exists():
        raise Unavailable("tuspyserver: python -m benchmarks --prepare installs it")
    files = directory / "files"
    files.mkdir()
    command = [str(python), "-m", "uvicorn", "--app-dir", str(ROOT / "benchmarks" / "peers")]
    command += ["py_server:app", "--host=127.0.0.1", f"--port={port}"]
    return _launch(
        command,
        name="tuspyserver",
        url=f"http://127.0.0.1:{port}/files/",
        directory=files,
        abilities=TUS,
        environment={"FILES": str(files)},
    )


def _start_bare(directory: Path) -> Running:
    port = free_port()
    (directory / "files").mkdir()
    command = [sys.executable, "-m", "benchmarks.peers.bare_server", str(port)]
    url = f"http://127.0.0.1:{port}/files/"
    return _launch(command, name=FLOOR, url=url, directory=directory / "files", abilities=TUS)


_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/access.log;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  client_body_temp_path {folder}/temporary;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {folder}/files; dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


def _start_nginx(directory: Path) -> Running:
    """Start nginx with its module for PUT, one worker and the larger buffer that suits it best."""
    port = free_port()
    (directory / "files").mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    settings = _NGINX.format(folder=directory, port=port, user=user)
    (directory / "nginx.conf").write_text(settings, encoding="utf-8")
    command = [_program("nginx"), "-c", str(directory / "nginx.conf")]
    command += ["-e", str(directory / "error.log")]
    url = f"http://127.0.0.1:{port}/"
    return _launch(command, name="nginx", url=url, directory=directory / "files", abilities=PUT)


def _start_tusd(directory: Path, program: Path | None) -> Running:
    if program is None:
        raise Unavailable("tusd: tell where its program is, by --tusd PATH")
    files, port = directory / "files", free_port()
    command = [str(program), "-host", "127.0.0.1", "-port", str(port), "-upload-dir", str(files)]
    url = f"http://127.0.0.1:{port}/files/"
    return _launch(command, name="tusd", url=url, directory=files, abilities=CONCATENATION)


def _start_rustus(directory: Path, program: Path | None) -> Running:
    """Start rustus; it holds each body in memory, so it must be told that large ones are right."""
    if program is None:
        raise Unavailable("rustus: tell where its program is, by --rustus PATH")
    files, port = directory / "files", free_port()
    command = [str(program), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-body-size", str(2 << 30)]
    command += ["--data-dir", str(files), "--info-dir", str(files)]
    url = f"http://127.0.0.1:{port}/files"
    return _launch(command, name="rustus", url=url, directory=files, abilities=CHECKSUM)


# --- programs -----------------------------------------------------------------------------


def _launch(
    command: list[str],
    *,
    name: str,
    url: str,
    directory: Path,
    abilities: frozenset[str],
    beside: list[subprocess.Popen[bytes]] | None = None,
    environment: dict[str, str] | None = None,
) -> Running:
    log = directory.parent / "server.log"
    process = _run(command, log, environment or {})
    running = Running(name, url, directory, abilities, process, log, beside or [], command)
    try:
        _await(process, running.place[1], log)
    except BaseException:
        running.stop()
        raise
    return running


def _run(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    own = {name: value for name, value in os.environ.items() if "TUSSERVER_" not in name}
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - the programs that are measured
            command,
            cwd=ROOT,
            env=own | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until it takes connections."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(
                    f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}"
                ) from None
            time.sleep(0.02)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _program(name: str) -> str:
    """Find a program of the system. Raises: Unavailable."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Unavailable(f"{name}: not found; install it")
    return found


def free_port() -> int:
    """Find a port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# --- versions -----------------------------------------------------------------------------


def version(name: str, paths: Paths) -> str:
    """Give the version of a server, as it tells it itself."""
    kind = name.partition(":")[0]
    commands = {
        "tusserver": ["git", "-C", str(ROOT), "describe", "--always", "--tags"],
        "tus-node-server": ["cat", str(BENCH / "node" / "node_modules/@tus/server/package.json")],
        "tuspyserver": [str(BENCH / "python/bin/pip"), "show", "tuspyserver"],
        "nginx": [shutil.which("nginx") or "/usr/sbin/nginx", "-v"],
        "tusd": [str(paths.tusd), "-version"],
        "redis": ["redis-server", "--version"],
    }
    if kind not in commands:
        return "unknown"
    try:
        done = subprocess.run(  # noqa: S603 - the programs that are measured
            commands[kind], capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    said = done.stdout + done.stderr
    if kind == "tusserver":
        return said.strip() + (" with changes" if _is_changed() else "")
    found = re.search(r'(?:"version": "|Version: v?|nginx/|v=)([0-9][0-9A-Za-z.+-]*)', said)
    return found[1] if found else "unknown"


def _is_changed() -> bool:
    """Tell whether the package is other than what is committed; what is measured is kept beside."""
    command = ["git", "-C", str(ROOT), "status", "--porcelain", "--", "tusserver"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return bool(done.stdout)
