"""Settings into hooks (floor 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.hooks.callables import CallableHooks

if TYPE_CHECKING:
    from tusserver.config import Settings
    from tusserver.ports import Hooks


def build_hooks(settings: Settings, hooks: Hooks | None) -> Hooks:
    """Join the application's hooks with those that the settings name."""
    del settings
    return hooks or CallableHooks()
