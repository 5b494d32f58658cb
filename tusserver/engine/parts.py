"""What an engine is made of (floor 4): the composed ports and what all its verbs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tusserver.engine.crew import Crew
from tusserver.engine.kinds import Kinds
from tusserver.engine.pace import Pace
from tusserver.engine.work import Slots
from tusserver.gates import NoOutbox, NoQuota
from tusserver.measures import NO_METER
from tusserver.options import WebOptions
from tusserver.ports import EventKind
from tusserver.protocol.digests import DigestRules
from tusserver.upload import Durability, Kind, Limits

if TYPE_CHECKING:
    from datetime import datetime

    from tusserver.engine.records import Records
    from tusserver.gates import Authorizer, GrantBook, Outbox, Publisher, Quota
    from tusserver.measures import Meter
    from tusserver.ports import Clock, Hooks, Mailbox, StateStore, Storage
    from tusserver.upload import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """The ports, the limits, and the work of one engine."""

    storage: Storage
    state: StateStore
    records: Records
    mailbox: Mailbox
    hooks: Hooks
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    durability: Durability = Durability.NORMAL
    extensions: frozenset[str] = frozenset()
    web: WebOptions = field(default_factory=WebOptions)
    """Not the engine's own: the web floor reads it from the engine it serves."""
    authorizer: Authorizer | None = None
    """Asked by the web floor about every request but OPTIONS; None: anybody may do anything."""
    quota: Quota = field(default_factory=NoQuota)
    grants: GrantBook | None = None
    """What signed upload URLs made; None: there are none."""
    kinds: Kinds = field(default_factory=Kinds)
    digests: DigestRules = field(default_factory=DigestRules)
    publisher: Publisher | None = None
    outbox: Outbox = field(default_factory=NoOutbox)
    meter: Meter = NO_METER
    crew: Crew = field(default_factory=Crew)
    pace: Pace = field(default_factory=Pace)
    slots: Slots = field(default_factory=Slots)

    @property
    def strict(self) -> bool:
        """Tell whether every acknowledgement is synced first."""
        return self.durability is Durability.STRICT or (
            self.durability is Durability.NORMAL and not self.storage.durable_writes
        )

    @property
    def syncs(self) -> bool:
        """Tell whether anything is synced while serving."""
        return self.durability is not Durability.PROCESS

    def now(self) -> datetime:
        """Give the wall clock."""
        return self.clock.now()

    def wants_finish_event(self, upload: Upload) -> bool:
        """Tell whether the finish of this upload is an event (not for parts: CAT-19)."""
        return upload.kind is not Kind.PARTIAL and self.wants(EventKind.POST_FINISH)

    @property
    def shows_requests(self) -> bool:
        """Tell whether anybody but the engine is ever shown a request: its headers count then."""
        return self.authorizer is not None or any(self.wants(kind) for kind in EventKind)

    def wants(self, kind: EventKind) -> bool:
        """Tell whether the application, a receiver or the publisher is to be told of something."""
        publishes = kind is EventKind.POST_FINISH and self.publisher is not None
        return publishes or self.hooks.wants(kind) or self.outbox.wants(kind)
