"""docs/logs.md says what lines look like."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

from tests.logs.lines import requests_of
from tests.support.docs import table_rows
from tests.support.raw import Tus
from tests.support.waiting import eventually
from tusserver.logs import JsonLines, TextLines

PAGE = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
COMMON = {"time", "level", "logger", "message", "request_id"}


def example(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)\n```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_examples_are_what_is_written():
    told = json.loads(example("json"))
    record = logging.LogRecord(told["logger"], logging.INFO, "", 0, told["message"], None, None)
    record.created = 1_795_242_444.301
    record.request_id = told["request_id"]
    record.tus_fields = {name: told[name] for name in told if name not in COMMON}
    assert JsonLines().format(record) == example("json")
    assert TextLines().format(record) == example("text")


def test_every_field_is_explained(make_server):
    server = make_server("--log-format", "json", "--log-level", "debug")
    tus = Tus(server.url)
    tus.content(tus.upload(b"hello"))
    tus.post({})
    assert eventually(lambda: len(requests_of(server)) == 4)
    seen = {name for line in requests_of(server) for name in line} - COMMON
    explained = set(table_rows(PAGE))
    assert seen <= explained
    assert explained - seen == {"owner"}
