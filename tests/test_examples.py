"""The example application runs, and does what its text says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

    from aiohttp.test_utils import TestClient

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "host_app.py"
TUS = {"Tus-Resumable": "1.0.0"}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metadata(**values: str) -> dict[str, str]:
    pairs = (f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


@pytest.fixture
async def client(aiohttp_client: Any, upload_dir: Path) -> TestClient:
    return await aiohttp_client(load(EXAMPLE).make_app(upload_dir))


async def listed(client: TestClient) -> dict[str, str]:
    """Ask for the list until there is something in it: it is told after the answer."""
    for _ in range(200):
        names = await (await client.get("/")).json()
        if names:
            break
        await asyncio.sleep(0.01)
    return names


async def test_an_upload_without_a_file_name_is_refused_by_the_hook(client, upload_dir):
    headers = TUS | {"Upload-Length": "5"} | metadata(filetype="text/plain")
    answer = await client.post("/files/", headers=headers)
    assert answer.status == 422
    assert "Send a file name" in await answer.text()
    assert list(upload_dir.glob("??/*")) == []


async def test_a_file_arrives_and_is_listed(client):
    headers = TUS | {"Upload-Length": "5"} | metadata(filename="né.txt", author="me")
    answer = await client.post("/files/", headers=headers)
    assert answer.status == 201
    location = answer.headers["Location"]
    head = await client.head(location, headers=TUS)
    assert head.headers["Upload-Metadata"] == metadata(filename="né.txt")["Upload-Metadata"]

    typed = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    answer = await client.patch(location, headers=TUS | typed, data=b"hello")
    assert answer.status == 204
    upload_id = location.rpartition("/")[2]
    assert answer.headers["X-Receipt"] == upload_id[:8]
    assert await listed(client) == {upload_id: "né.txt"}
    assert await (await client.get(location)).read() == b"hello"


async def test_the_limit_of_the_example_holds(client):
    headers = TUS | {"Upload-Length": str(2 * 2**30 + 1)} | metadata(filename="big")
    answer = await client.post("/files/", headers=headers)
    assert answer.status == 413


@pytest.mark.parametrize("page", ["README.md", "docs/embedding.md"])
def test_the_python_of_the_pages_about_embedding_makes_an_application(page, upload_dir):
    text = (ROOT / page).read_text(encoding="utf-8")
    [code] = [
        block
        for block in re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
        if "add_subapp" in block
    ]
    # Printed instead of served: the page's own words, but for the last one.
    program = code.replace("web.run_app(app)\n", "") + (
        "import json\nprint(json.dumps([str(r.canonical) for r in app.router.resources()]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=upload_dir,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert result.stderr == ""
    assert json.loads(result.stdout) == ["/files"]
