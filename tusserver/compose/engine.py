"""Settings into an engine (floor 5)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.compose.access import build_authorizer, build_grants, build_kinds
from tusserver.compose.hooks import build_hooks
from tusserver.compose.publishing import build_publisher
from tusserver.compose.quota import build_quota
from tusserver.engine.core import UploadEngine
from tusserver.engine.parts import EngineParts
from tusserver.engine.records import Records
from tusserver.hooks.counted import CountedHooks
from tusserver.measures import NO_METER
from tusserver.options import WebOptions
from tusserver.protocol.digests import DigestRules
from tusserver.state.local import LocalState
from tusserver.state.redis import RedisState
from tusserver.storage.local import LocalStorage
from tusserver.storage.wake import DatagramMailbox
from tusserver.upload import Durability
from tusserver.values import EXTENSIONS, LOCAL

if TYPE_CHECKING:
    from tusserver.auth.callables import Authorize
    from tusserver.config import Settings
    from tusserver.gates import Authorizer
    from tusserver.measures import Meter
    from tusserver.ports import Hooks, StateStore
    from tusserver.storage.placing import Placing

REDIS = "redis"
"""The kind of state that `store.json` names for every URL of a Redis."""
DOWNLOAD = "download"
"""GET, which tus does not announce but which is switched off as an extension is."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Give the wall clock."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return time.monotonic()


def build_engine(
    settings: Settings,
    hooks: Hooks | None = None,
    *,
    authorize: Authorize | None = None,
    authorizer: Authorizer | None = None,
    meter: Meter | None = None,
    placing: Placing | None = None,
) -> UploadEngine:
    """Put an engine together from settings; it opens its store when it is started.

    `hooks` are called beside those of the settings. `authorize` is asked about requests that no
    credential of the settings proves; an `authorizer` decides in the place of all of that.
    A `meter` is told what happens, such as `tusserver.metrics.PrometheusMeter`. `placing` is for
    processes that do nothing else and start no programs: see `tusserver.storage.placing`.
    """
    directory = Path(settings.upload_dir)
    mailbox = DatagramMailbox(directory)
    kind = LOCAL if settings.state == LOCAL else REDIS
    counts = NO_METER if meter is None else meter
    storage = LocalStorage(
        directory,
        reserve=settings.reserve,
        state_kind=kind,
        mailbox_name=mailbox.name,
        loop_writes=settings.loop_writes,
        placing=placing,
        meter=counts,
    )
    state: StateStore
    state = LocalState(storage) if kind == LOCAL else RedisState(settings.state, meter=counts)
    authorizer = authorizer or build_authorizer(settings, authorize)
    quota = build_quota(settings, state, guarded=authorizer is not None)
    records = Records(storage, state, note=quota.note, meter=counts)
    joined_hooks, outbox = build_hooks(settings, hooks, storage=storage, records=records)
    works = {*EXTENSIONS, DOWNLOAD} - set(settings.disable)
    parts = EngineParts(
        storage=storage,
        state=state,
        records=records,
        mailbox=mailbox,
        hooks=joined_hooks if meter is None else CountedHooks(joined_hooks, meter),
        outbox=outbox,
        clock=SystemClock(),
        limits=settings.limits(),
        authorizer=authorizer,
        grants=build_grants(settings),
        kinds=build_kinds(settings),
        quota=quota,
        digests=DigestRules(name=settings.digest or "", keys=settings.digest_metadata),
        publisher=build_publisher(settings),
        meter=counts,
        durability=Durability(settings.durability),
        extensions=frozenset(works if settings.download else works - {DOWNLOAD}),
        web=_web_options(settings),
    )
    return UploadEngine(
        parts, sweep_interval=settings.sweep_interval, sweep_grace=settings.sweep_grace
    )


def _web_options(settings: Settings) -> WebOptions:
    return WebOptions(
        body_timeout=settings.body_timeout,
        cache_control=settings.cache_control,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
        access_log=settings.access_log,
        cors_origins=settings.cors_origins,
        cors_credentials=settings.cors_credentials,
        cors_headers=settings.cors_headers,
    )
