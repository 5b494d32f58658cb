"""Several hooks as one: the application's own and those of receivers (floor 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tusserver.ports import Decision
from tusserver.protocol.headers import format_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tusserver.ports import Event, EventKind, Hooks


class HookChain:
    """Asks all in their order, each with what those before it changed; all must agree."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        """Join these hooks."""
        self._hooks = tuple(hooks)

    def wants(self, kind: EventKind) -> bool:
        """Tell whether anybody listens."""
        return any(hooks.wants(kind) for hooks in self._hooks)

    async def before(self, event: Event) -> Decision:
        """Ask until one refuses; the later one's changes win. Raises: HookFailed, TusError."""
        joined = Decision()
        for hooks in self._hooks:
            if not hooks.wants(event.kind):
                continue
            decision = await hooks.before(event)
            if decision.reject is not None:
                return decision
            joined = join(joined, decision)
            event = altered(event, decision)
        return joined

    async def after(self, event: Event) -> None:
        """Tell all that listen, in their order. Raises: HookFailed, of the first that fails."""
        for hooks in self._hooks:
            if hooks.wants(event.kind):
                await hooks.after(event)


def join(first: Decision, second: Decision) -> Decision:
    """Give what two decisions that go on come to: the second one's changes win."""
    return Decision(
        metadata=first.metadata if second.metadata is None else second.metadata,
        upload_id=second.upload_id or first.upload_id,
        headers={**first.headers, **second.headers},
        body=first.body if second.body is None else second.body,
    )


def altered(event: Event, decision: Decision) -> Event:
    """Give an event as the next one to be asked sees it."""
    upload = event.upload
    if decision.metadata is not None:
        upload = replace(upload, metadata=format_metadata(decision.metadata))
    if decision.upload_id is not None:
        upload = replace(upload, upload_id=decision.upload_id)
    return replace(event, upload=upload)
