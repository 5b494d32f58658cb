"""Settings into hooks (floor 5)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.config.hooking import parse_webhook_secrets, parse_webhook_urls
from tusserver.errors import StorageFault
from tusserver.gates import NoOutbox
from tusserver.hooks.callables import CallableHooks
from tusserver.hooks.chain import HookChain
from tusserver.hooks.delivery import Delivery
from tusserver.hooks.outbox import DIRECTORY, FILE, WebhookOutbox
from tusserver.hooks.payload import CREDENTIALS, Writer
from tusserver.hooks.shelf import Shelf, ShelfDamaged
from tusserver.hooks.signing import Signer
from tusserver.hooks.webhook import Receiver, WebhookHooks
from tusserver.storage.layout import Places
from tusserver.upload import Durability

if TYPE_CHECKING:
    from tusserver.config import Settings
    from tusserver.engine.records import Records
    from tusserver.gates import Outbox
    from tusserver.ports import Hooks, Storage
    from tusserver.upload import Upload, UploadId


def build_hooks(
    settings: Settings, hooks: Hooks | None, *, storage: Storage, records: Records
) -> tuple[Hooks, Outbox]:
    """Join the application's hooks with the receivers that the settings name.

    Receivers are asked by the hooks; what has happened reaches them through the outbox.
    """
    own = hooks or CallableHooks()
    if settings.webhook_url is None:
        return own, NoOutbox()

    async def find(upload_id: UploadId) -> Upload | None:
        return (await records.load(upload_id))[0]

    receivers, writer = _receivers(settings), _writer(settings)
    asked = WebhookHooks(
        receivers,
        writer=writer,
        events=settings.webhook_events,
        forward=settings.webhook_forward_headers,
        timeout=settings.webhook_timeout,
        retries=settings.webhook_retry,
    )
    outbox = WebhookOutbox(
        _directory(settings),
        writer=writer,
        events=settings.webhook_events,
        delivery=Delivery(
            receivers, elect=storage.elect, find=find, give_up=settings.webhook_give_up
        ),
        forward=settings.webhook_forward_headers,
        progress_interval=settings.webhook_progress_interval,
        syncs=settings.durability is not Durability.PROCESS,
    )
    return HookChain((own, asked)), outbox


def open_shelf(settings: Settings) -> Shelf | None:
    """Open the events that wait in the upload directory, for a command; None if there are none.

    Blocks. Raises: StorageFault.
    """
    path = _directory(settings) / FILE
    if not path.exists():
        return None
    try:
        return Shelf(path, targets=len(shown_receivers(settings)))
    except (sqlite3.Error, ShelfDamaged) as error:
        raise StorageFault(f"{path.name}: {error}") from error


def shown_receivers(settings: Settings) -> tuple[str, ...]:
    """Name the receivers, without what may be secret in their addresses."""
    return tuple(receiver.shown for receiver in _receivers(settings))


def _directory(settings: Settings) -> Path:
    return Places(Path(settings.upload_dir).absolute()).private / DIRECTORY


def _writer(settings: Settings) -> Writer:
    places = Places(Path(settings.upload_dir).absolute())
    named = {name.lower() for name in settings.webhook_forward_headers}

    def files(upload_id: UploadId) -> tuple[Path, Path]:
        return places.data(upload_id), places.ledger(upload_id)

    return Writer(files, kept=CREDENTIALS & named)


def _receivers(settings: Settings) -> tuple[Receiver, ...]:
    secret = settings.webhook_secret
    signer = Signer(() if secret is None else parse_webhook_secrets(secret))
    return tuple(
        Receiver(url, signer=signer, timeout=settings.webhook_timeout)
        for url in parse_webhook_urls(settings.webhook_url or "")
    )
