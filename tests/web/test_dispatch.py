"""The short way to uploads leads nowhere else than the router does."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from tusserver.web.dispatch import ShortWay


async def uploads(request: web.BaseRequest) -> web.Response:
    return web.Response(text="uploads")


async def router(request: web.BaseRequest) -> web.Response:
    return web.Response(text="router")


async def taken(base_path: str, target: str) -> str:
    handle = ShortWay(base_path, uploads).past(router)
    response = await handle(make_mocked_request("GET", target))
    assert isinstance(response, web.Response)
    return response.text or ""


@pytest.mark.parametrize(
    "target",
    ["/files/", "/files", "/files?x=1", "/files/abc", "/files/abc/", "/files//", "/files/a%2Fb"],
)
async def test_what_lies_below_the_base_path_takes_the_short_way(target):
    assert await taken("/files/", target) == "uploads"


@pytest.mark.parametrize("target", ["/", "/filesystem", "/Files/abc", "/healthz", "/file"])
async def test_everything_else_is_left_to_the_router(target):
    assert await taken("/files/", target) == "router"


async def test_a_base_path_of_several_parts_is_one_prefix():
    assert await taken("/a/b/", "/a/b/c") == "uploads"
    assert await taken("/a/b/", "/a/c") == "router"
