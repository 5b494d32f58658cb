"""Settings: how much each owner, and all together, may use (floor 3)."""

from __future__ import annotations

from pydantic import BaseModel

from tusserver.config.fields import setting
from tusserver.values import AUTO, AutoLimit, Limit, MaxSize, Rate


class LimitingSettings(BaseModel):
    """How much each owner, and all together, may use."""

    max_stored: MaxSize = setting(
        "SIZE",
        "Most bytes of all uploads together, with what unfinished ones may still become; none: "
        "no limit.",
        default=None,
    )
    max_unwritten: MaxSize = setting(
        "SIZE", "Most bytes that all unfinished uploads together may still lack.", default=None
    )
    max_open: AutoLimit = setting(
        "NUMBER",
        "Most unfinished uploads; auto: 1000 when requests are not authorised, else none.",
        default=AUTO,
    )
    max_creations: Limit = setting(
        "NUMBER", "Most uploads that are created in any minute.", default=None
    )
    max_appends: Limit = setting(
        "NUMBER", "Most uploads that receive data at the same time.", default=None
    )
    max_bandwidth: Rate = setting(
        "SIZE", "Most bytes that are received in a second; more arrives more slowly.", default=None
    )
    owner_max_stored: MaxSize = setting(
        "SIZE",
        "Most bytes of the uploads of one owner, with what unfinished ones may still become.",
        default=None,
    )
    owner_max_unwritten: MaxSize = setting(
        "SIZE", "Most bytes that the unfinished uploads of one owner may still lack.", default=None
    )
    owner_max_open: Limit = setting("NUMBER", "Most unfinished uploads of one owner.", default=None)
    owner_max_creations: Limit = setting(
        "NUMBER", "Most uploads that one owner creates in any minute.", default=None
    )
    owner_max_appends: Limit = setting(
        "NUMBER",
        "Most uploads of one owner that receive data at the same time.",
        default=None,
    )
    owner_max_bandwidth: Rate = setting(
        "SIZE", "Most bytes that are received from one owner in a second.", default=None
    )
