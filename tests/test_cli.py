"""The program as an operator meets it: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest

from tests.support.ports import free_port
from tests.support.waiting import eventually
from tusserver import cli
from tusserver.commands.serve import greeting
from tusserver.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 15


def environment(**variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if "TUSSERVER_" not in name}
    return own | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | variables


def run(*words: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, in a directory that holds nothing else."""
    return subprocess.run(
        [sys.executable, "-m", "tusserver", *words],
        cwd=directory,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def serving(
    *words: str, directory: Path, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the program as it is started from a shell; give it and the lines it greets with."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tusserver", *words],
        cwd=directory,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(SECONDS, process.kill)
    guard.start()
    try:
        lines = [process.stdout.readline().rstrip("\n")]
        while not lines[-1].startswith("try it with"):
            assert lines[-1], process.stderr.read()
            lines.append(process.stdout.readline().rstrip("\n"))
        yield process, lines
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.rstrip("\n")


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """Give the line that says why it ends; log lines may stand beside it, a trace never."""
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    [line] = re.findall(r"^tusserver: .*$", result.stderr, flags=re.MULTILINE)
    return line


@pytest.fixture
def directory(upload_dir: Path) -> Path:
    return upload_dir


# --- serving ------------------------------------------------------------------------------


def test_port_0_prints_the_port_that_was_chosen(directory):
    with serving("--port", "0", directory=directory) as (_, lines):
        [url] = re.findall(r"http://127\.0\.0\.1:[1-9][0-9]*/files/", lines[0])
        port = int(url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS):
            pass


def test_the_greeting_tells_where_data_goes_and_which_state_is_used(directory):
    with serving("serve", "--port=0", directory=directory) as (_, lines):
        assert str(directory / "uploads") in lines[1]
        assert "local" in lines[2]
        assert (directory / "uploads").is_dir()


def test_the_line_to_try_it_with_works_when_it_is_pasted(directory):
    if shutil.which("curl") is None:
        pytest.skip("no curl found; remedy: apt-get install curl")
    with serving("--port=0", directory=directory) as (_, lines):
        command = lines[-1].partition("try it with")[2]
        assert command
        result = subprocess.run(
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        assert "201 Created" in result.stdout
        assert "Upload-Offset: 5" in result.stdout
        location = re.search(r"^Location: (\S+)", result.stdout, flags=re.MULTILINE)[1]
        port = re.search(r":([0-9]+)/", lines[0])[1]
        with urlopen(f"http://127.0.0.1:{port}{location}", timeout=SECONDS) as answer:
            assert answer.read() == b"hello"


def test_settings_come_from_the_environment_too(directory):
    variables = {
        "TUSSERVER_PORT": "0",
        "TUSSERVER_BASE_PATH": "/up",
        "TUSSERVER_UPLOAD_DIR": "data",
    }
    with serving(directory=directory, **variables) as (_, lines):
        assert lines[0].endswith("/up/")
        assert lines[1].endswith("/data")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_ends_it_in_good_order(directory, number):
    with serving("--port=0", directory=directory) as (process, _):
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert "Traceback" not in errors


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
    except ConnectionError:
        return True
    return False


def test_a_second_signal_ends_it_at_once(directory):
    with serving("--port=0", "--shutdown-timeout=1h", directory=directory) as (process, lines):
        port = int(re.search(r":([0-9]+)/", lines[0])[1])
        length = 32 * 2**20
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(length),
            "Content-Type": "application/offset+octet-stream",
        }
        creation = Request(f"http://127.0.0.1:{port}/files/", bytes(length), headers)
        with urlopen(creation, timeout=SECONDS) as answer:  # noqa: S310 - ours, http
            location = answer.headers["Location"]
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as reader:
            # A download that is not read on keeps a graceful stop waiting.
            reader.sendall(f"GET {location} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert reader.recv(100)
            process.send_signal(signal.SIGTERM)
            # Two that come before it looks would be one.
            assert eventually(lambda: refuses(port), within=SECONDS)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 1


def test_redis_is_greeted_without_its_password(directory, start_redis):
    redis = start_redis(requirepass="hunter2")
    with serving("--port=0", directory=directory, TUSSERVER_STATE=redis.url) as (process, lines):
        assert f"redis://***@127.0.0.1:{redis.port}/0" in lines[2]
        process.terminate()
        output, errors = process.communicate(timeout=SECONDS)
    assert "hunter2" not in "".join([*lines, output, errors])


# --- what is asked of it ------------------------------------------------------------------


def test_help_names_the_commands_and_every_flag(directory):
    result = run("--help", directory=directory)
    assert result.returncode == 0
    assert result.stderr == ""
    for word in (*cli.COMMANDS, "TUSSERVER_", *map(cli.flag_of, Settings.model_fields)):
        assert word in result.stdout
    assert list(directory.iterdir()) == []


def test_the_version_is_told(directory):
    result = run("--version", directory=directory)
    assert result.returncode == 0
    assert re.fullmatch(r"tusserver ([0-9]+\.[0-9]+\.[0-9]+|\(.*not installed\))\n", result.stdout)


# --- wrong settings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--max-size=10GX"], "--max-size=10GX: not a size: write it as 10GiB or 500MB"),
        (["serve", "--port", "x"], "--port=x: not a port: write a number from 0 to 65535"),
        (["--colour=red"], "--colour=red: there is no such flag"),
        (["--port"], "--port: expected one argument"),
        (["uplaod"], "command=uplaod: there are only serve, upload, adopt, check, settings,"),
        (["adopt", "--state=x"], "--state=x: not a state store: write local, redis://HOST:PORT/0"),
        (["--host=a\nb"], r"--host=a\nb: not an address"),
        (["--config=no.toml"], "--config=no.toml: cannot be read: No such file or directory"),
        (["--state-file=x"], "--state-file=x: cannot be read: No such file or directory"),
    ],
    ids=lambda value: value[-1].replace("\n", " ") if isinstance(value, list) else "",
)
def test_a_wrong_setting_ends_it_with_status_2_and_one_line(directory, words, line):
    result = run(*words, directory=directory)
    assert result.returncode == 2
    assert only_line(result).startswith(f"tusserver: {line}")
    assert list(directory.iterdir()) == []


def test_a_wrong_variable_is_named(directory):
    result = run(directory=directory, TUSSERVER_MAX_SIZE="10GX")
    assert result.returncode == 2
    assert only_line(result) == (
        "tusserver: TUSSERVER_MAX_SIZE=10GX: not a size: write it as 10GiB or 500MB"
    )


def test_an_unknown_variable_is_a_warning(directory):
    variables = {"TUSSERVER_PROT": "1", "TUSSERVER_PORT": "x"}
    result = run(directory=directory, **variables)
    warning, _ = result.stderr.splitlines()
    assert re.match(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z WARNING tusserver\.config\.layers ", warning)
    assert warning.endswith("TUSSERVER_PROT means nothing here; the nearest is TUSSERVER_PORT")


def test_a_wrong_key_of_the_file_is_named(directory):
    (directory / "t.toml").write_text("port = 1\nprot = 2\n")
    result = run("--config=t.toml", directory=directory)
    assert result.returncode == 2
    assert only_line(result) == (
        "tusserver: t.toml: prot: there is no such setting; did you mean port?"
    )


# --- what the settings are ----------------------------------------------------------------


def test_the_settings_are_printed_with_where_they_came_from(directory):
    (directory / "t.toml").write_text('max-size = "10GiB"\ndownload = false\n')
    (directory / "redis").write_text("redis://:hunter2@localhost/0\n")
    (directory / "redis").chmod(0o600)
    words = "settings", "--config=t.toml", "--port=0", "--state-file=redis"
    shown = run(*words, directory=directory, TUSSERVER_EXPIRE_FINISHED="36h")
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = [re.split(r" {2,}", line) for line in shown.stdout.splitlines()]
    assert rows[0] == ["SETTING", "VALUE", "FROM"]
    assert ["--max-size", "10GiB", "t.toml: max-size"] in rows
    assert ["--download", "off", "t.toml: download"] in rows
    assert ["--port", "0", "--port"] in rows
    assert ["--state", "redis://***@localhost/0", "--state-file"] in rows
    assert ["--expire-finished", "36h", "TUSSERVER_EXPIRE_FINISHED"] in rows
    assert ["--host", "127.0.0.1", "default"] in rows
    assert len(rows) == len(Settings.model_fields) + 1

    told = run(*words, "--json", directory=directory)
    found = json.loads(told.stdout)
    assert set(found) == set(Settings.model_fields)
    assert found["max_size"] == {
        "value": 10 * 2**30,
        "origin": "file",
        "label": "t.toml: max-size",
    }
    assert found["download"]["value"] is False
    assert found["cors_origins"] == {"value": ["*"], "origin": "default", "label": ""}
    assert found["upload_dir"]["value"] == "uploads"
    assert "hunter2" not in shown.stdout + told.stdout
    assert sorted(path.name for path in directory.iterdir()) == ["redis", "t.toml"]


# --- a machine that does not let it run ---------------------------------------------------


def test_a_port_in_use_is_one_line(directory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run(f"--port={port}", directory=directory)
    assert result.returncode == 1
    assert only_line(result) == (
        f"tusserver: 127.0.0.1 port {port} is in use: "
        "stop what listens there, or choose another --port"
    )


def test_an_address_of_another_machine_is_one_line(directory):
    result = run("--port=0", "--host=192.0.2.1", directory=directory)
    assert result.returncode == 1
    line = only_line(result)
    assert line == "tusserver: 192.0.2.1 is not an address of this machine: correct --host"


def test_a_directory_that_cannot_be_made_is_named(directory):
    (directory / "file").write_bytes(b"")
    result = run("--port=0", "--upload-dir=file/uploads", directory=directory)
    assert result.returncode == 2
    place = directory / "file" / "uploads"
    assert last_line(result).startswith(f"tusserver: --upload-dir={place}: cannot be used")


def test_a_redis_that_does_not_answer_is_named_without_its_password(directory):
    port = free_port()
    result = run("--port=0", f"--state=redis://:hunter2@127.0.0.1:{port}/0", directory=directory)
    assert result.returncode == 1
    assert last_line(result) == (
        f"tusserver: the state store redis://***@127.0.0.1:{port}/0 does not answer: "
        "start it, or correct --state"
    )
    assert "hunter2" not in result.stderr


# --- adopting -----------------------------------------------------------------------------


def test_a_directory_of_another_state_is_refused_until_it_is_adopted(directory, redis_server):
    with serving("--port=0", directory=directory):
        pass
    refused = run("--port=0", f"--state={redis_server.url}", directory=directory)
    assert refused.returncode == 2
    line = last_line(refused)
    assert line.startswith("tusserver: --state=")
    assert "tusserver adopt" in line

    adopted = run("adopt", f"--state={redis_server.url}", directory=directory)
    assert (adopted.returncode, adopted.stderr) == (0, "")
    assert "Redis" in adopted.stdout
    with serving("--port=0", f"--state={redis_server.url}", directory=directory) as (_, lines):
        assert redis_server.url in lines[2]


def test_a_directory_is_not_adopted_while_a_server_uses_it(directory, redis_server):
    with serving("--port=0", directory=directory):
        refused = run("adopt", f"--state={redis_server.url}", directory=directory)
    assert refused.returncode == 2
    line = only_line(refused)
    assert line.startswith("tusserver: --upload-dir=")
    assert "1 server processes use it now: stop them" in line
    assert run("adopt", f"--state={redis_server.url}", directory=directory).returncode == 0


# --- the greeting -------------------------------------------------------------------------


def test_an_address_for_all_is_tried_on_this_machine():
    lines = greeting(Settings(host="::"), "::", 1080)
    assert "http://[::]:1080/files/" in lines[0]
    assert "'http://[::1]:1080/files/'" in lines[-1]


def test_without_creation_with_upload_the_line_to_try_asks_what_there_is():
    lines = greeting(Settings(disable=("creation-with-upload",)), "127.0.0.1", 1080)
    assert "OPTIONS" in lines[-1]
    assert "--data-binary" not in lines[-1]
