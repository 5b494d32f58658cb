"""From settings to limits: what is switched on, what is off, what is no limit at all."""

from __future__ import annotations

import pytest

from tusserver.compose.quota import OPEN_TO_ALL, build_quota
from tusserver.config import Settings
from tusserver.errors import ConfigError
from tusserver.gates import NoQuota
from tusserver.quota.ceilings import Ceiling, Ceilings

NAMES = ("stored", "unwritten", "open", "creations", "appends", "bandwidth")


def ceilings(*, guarded=False, **settings):
    quota = build_quota(Settings(**settings), None, guarded=guarded)
    return None if isinstance(quota, NoQuota) else quota._ceilings


def test_without_authorisation_a_thousand_uploads_may_be_open():
    assert ceilings() == Ceilings(all=Ceiling(open=1000))
    assert OPEN_TO_ALL == 1000


def test_with_authorisation_nothing_is_limited():
    assert ceilings(guarded=True) is None


@pytest.mark.parametrize("guarded", [True, False])
def test_what_the_operator_says_holds_with_and_without_authorisation(guarded):
    assert ceilings(guarded=guarded, max_open="7") == Ceilings(all=Ceiling(open=7))
    assert ceilings(guarded=guarded, max_open="none") is None


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_is_the_one_of_its_name(name):
    assert ceilings(guarded=True, **{f"max_{name}": 4096}) == Ceilings(all=Ceiling(**{name: 4096}))
    of_owner = ceilings(guarded=True, **{f"owner_max_{name}": 4096})
    assert of_owner == Ceilings(owner=Ceiling(**{name: 4096}))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("max_open", "0", "from 1 to"),
        ("max_open", "many", "from 1 to"),
        ("owner_max_open", "auto", "from 1 to"),
        ("max_creations", "1.5", "from 1 to"),
        ("max_appends", "-1", "from 1 to"),
        ("max_bandwidth", "100", "too slow"),
        ("max_stored", "lots", "not a size"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_with_its_reason(name, value, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        Settings(**{name: value})
    assert caught.value.key == name
