"""What the container files say is done here without containers, as their user.

No image is built: there is no engine on a test machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.support.ports import free_port
from tests.support.redis_fixture import need_redis_server
from tests.support.waiting import eventually
from tusserver.config import Settings, load_settings, variable_of

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docs/deploy/compose.yaml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.timeout(400)


def instruction(name: str) -> str:
    """Give what the last instruction of this name in the Dockerfile says, on one line."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{name} (.*)$", joined, flags=re.MULTILINE)[-1]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in instruction("ENV").split())


@pytest.mark.skipif(
    os.geteuid() != 0, reason="becoming the image's user needs root; remedy: run as root"
)
def test_the_image_serves_as_its_own_user_and_its_health_check_sees_it(installed, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    user = int(instruction("USER"))
    os.chown(data, user, user)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.stat().st_mode & 0o055 != 0o055:  # not /tmp
            folder.chmod(0o755)
    port = free_port()
    variables = environment() | {
        "PATH": f"{installed.folder}/bin:/usr/bin:/bin",
        "TUSSERVER_PORT": str(port),
        "TUSSERVER_UPLOAD_DIR": str(data),
    }
    command = json.loads(instruction("ENTRYPOINT"))
    health = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    program = shutil.which(command[0], path=variables["PATH"])

    def is_healthy() -> bool:
        checked = subprocess.run(
            [installed.program(health[0]), *health[1:]],
            env=variables,
            user=user,
            capture_output=True,
            check=False,
        )
        return checked.returncode == 0

    assert not is_healthy()
    with subprocess.Popen([program], env=variables, user=user, group=user, cwd=data) as server:
        try:
            assert eventually(is_healthy, within=45)
            assert created(port) == 201
        finally:
            server.terminate()
        assert server.wait(15) == 0
    assert not is_healthy()


def created(port: int) -> int:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/files/", data=b"", headers=headers, method="POST"
    )
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - the same
        return response.status


def test_the_image_is_given_settings_that_exist():
    known = {variable_of(name) for name in Settings.model_fields}
    assert {name for name in environment() if name.startswith("TUSSERVER_")} <= known


def test_compose_gives_settings_that_are_valid():
    variables = COMPOSE["services"]["tusserver"]["environment"]
    known = {variable_of(name) for name in Settings.model_fields}
    assert set(variables) <= known
    settings = load_settings([], variables)
    grace = int(COMPOSE["services"]["tusserver"]["stop_grace_period"].removesuffix("s"))
    assert settings.shutdown_timeout < grace


def test_compose_builds_the_image_of_this_project():
    context = COMPOSE["services"]["tusserver"]["build"]
    assert (ROOT / "docs/deploy" / context / "Dockerfile").resolve() == ROOT / "Dockerfile"


def test_redis_is_run_so_that_nothing_is_dropped_or_forgotten(tmp_path):
    program, *arguments = COMPOSE["services"]["redis"]["command"]
    need_redis_server()
    port = free_port()
    command = [program, *arguments, "--port", str(port), "--dir", str(tmp_path)]

    def asked(*words: str) -> str:
        told = subprocess.run(
            ["redis-cli", "-p", str(port), *words], capture_output=True, text=True, check=False
        )
        return told.stdout.strip()

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            assert eventually(lambda: asked("ping") == "PONG", within=10)
            assert asked("config", "get", "appendonly").split() == ["appendonly", "yes"]
            policy = asked("config", "get", "maxmemory-policy").split()
            assert policy == ["maxmemory-policy", "noeviction"]
        finally:
            server.terminate()
