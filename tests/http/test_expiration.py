from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

from tests.http.conftest import MODES
from tests.support.raw import Tus

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Response
    from tests.support.server import TusServer

LIFE = 2.0
EXPIRING = ("--expire-after", "2s", "--sweep-interval", "1h")
"""What has expired is gone for clients before it is removed."""
IMF_FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT"
)


def _expires(answer: Response) -> datetime:
    value = answer.get("Upload-Expires") or ""
    assert IMF_FIXDATE.fullmatch(value), answer
    when = parsedate_to_datetime(value)
    assert value.startswith(when.strftime("%a"))
    return when


@dataclass(frozen=True)
class Aged:
    """Uploads of every kind that are older than their time."""

    tus: Tus
    targets: dict[str, str]


@pytest.fixture(scope="module", params=["program", "mounted"])
def aged(request: pytest.FixtureRequest, pool: Callable[..., TusServer]) -> Aged:
    tus = Tus(pool(request.param, *EXPIRING).url)
    partial = {"Upload-Concat": "partial"}
    awaited = tus.create(10, partial)
    final = tus.post({"Upload-Concat": f"final;{awaited}"})
    _expires(final)
    targets = {
        "new": tus.create(10),
        "begun": tus.create(10, body=b"abc"),
        "finished": tus.upload(b"abc"),
        "part": tus.create(10, partial),
        "finished part": tus.upload(b"abc", partial),
        "final": tus.target(final.get("Location") or ""),
    }
    time.sleep(LIFE + 0.2)
    return Aged(tus, targets)


@pytest.mark.clause("EXP-01")
def test_expiration_is_announced(tus: Tus, expiring: Tus) -> None:
    assert "expiration" in tus.extensions
    assert "expiration" in expiring.extensions


@pytest.mark.clause("EXP-02", "EXP-03", "EXP-04", "EXP-05", "EXP-10")
def test_creation_patch_and_head_tell_when_the_upload_expires(tus: Tus) -> None:
    created = tus.post({"Upload-Length": "10"})
    target = tus.target(created.get("Location") or "")
    for answer in (created, tus.patch(target, 0, b"abc"), tus.patch(target, 3), tus.head(target)):
        emitted = parsedate_to_datetime(answer.get("Date") or "")
        assert _expires(answer) > emitted
        assert _expires(answer) > datetime.now(UTC)


@pytest.mark.clause("EXP-02", "EXP-03")
def test_a_creation_with_data_tells_when_the_upload_expires(tus: Tus) -> None:
    fields = {"Upload-Length": "10", "Content-Type": "application/offset+octet-stream"}
    _expires(tus.post(fields, b"abc"))


@pytest.mark.clause("EXP-02")
def test_an_upload_that_will_not_expire_tells_no_time(tus: Tus) -> None:
    target = tus.create(3)
    assert tus.patch(target, 0, b"abc").get("Upload-Expires") is None
    assert tus.head(target).get("Upload-Expires") is None


@pytest.mark.clause("EXP-06", "EXP-03")
@pytest.mark.parametrize("name", ["new", "begun"])
def test_an_expired_upload_is_404(aged: Aged, name: str) -> None:
    tus, target = aged.tus, aged.targets[name]
    answers = [
        tus.head(target),
        tus.patch(target, 3 if name == "begun" else 0, b"abc"),
        tus.get(target),
        tus.delete(target),
    ]
    assert [answer.status for answer in answers] == [404] * 4
    assert [answer.offset for answer in answers] == [None] * 4


@pytest.mark.clause("EXP-08", "EXP-10")
def test_nothing_expires_before_its_time(expiring: Tus) -> None:
    created = expiring.post({"Upload-Length": "10"})
    target = expiring.target(created.get("Location") or "")
    told = _expires(created)
    while datetime.now(UTC) < told:
        head = expiring.head(target)
        assert head.status == 200 or datetime.now(UTC) >= told
        time.sleep(0.1)


@pytest.mark.clause("EXP-07")
@pytest.mark.parametrize("mode", MODES)
def test_the_time_moves_on_with_each_patch(with_flags: Callable[..., Tus], mode: str) -> None:
    tus = with_flags(mode, "--expire-after", "4s")
    target = tus.create(10)
    first = _expires(tus.head(target))
    for offset in range(3):
        time.sleep(1.5)
        last = _expires(tus.patch(target, offset, b"x"))
    assert last > first
    assert tus.offset(target) == 3


@pytest.mark.clause("EXP-08")
def test_nothing_expires_under_a_running_patch(expiring: Tus) -> None:
    target = expiring.create(100)
    with expiring.wire() as wire:
        wire.send(expiring.append_message(target, 0, b"", {"Content-Length": "100"}))
        wire.trickle(b"x" * 100, size=5, pause=LIFE * 1.5 / 20)
        answer = wire.response("PATCH")
    assert (answer.status, answer.offset) == (204, 100)
    assert expiring.content(target) == b"x" * 100


@pytest.mark.clause("EXP-08")
def test_a_finished_upload_stays(aged: Aged) -> None:
    assert aged.tus.content(aged.targets["finished"]) == b"abc"


@pytest.mark.clause("EXP-11")
@pytest.mark.parametrize("name", ["part", "finished part"])
def test_partial_uploads_expire(aged: Aged, name: str) -> None:
    assert aged.tus.head(aged.targets[name]).status == 404


@pytest.mark.clause("EXP-11")
def test_a_final_upload_that_waits_for_too_long_expires(aged: Aged) -> None:
    assert aged.tus.head(aged.targets["final"]).status == 404


@pytest.mark.clause("EXP-06", "CAT-07")
def test_an_expired_part_cannot_be_joined(aged: Aged) -> None:
    answer = aged.tus.post({"Upload-Concat": f"final;{aged.targets['part']}"})
    assert answer.status in {400, 404}
    assert answer.get("Location") is None
