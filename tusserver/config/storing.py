"""Settings: where uploads are kept, how safely, and for how long (floor 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic_settings import NoDecode

from tusserver.config.fields import setting
from tusserver.upload import Durability
from tusserver.values import (
    EXTENSIONS,
    LOCAL,
    Directory,
    ExtensionNames,
    FieldValue,
    Life,
    MaxSize,
    Size,
    Store,
    Time,
    Wait,
)


def _parse_none(value: object) -> object:
    return None if value == "none" else value


def _parse_keys(value: object) -> object:
    """Split a comma-separated list; what is a sequence already stays as it is."""
    keys = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    return tuple(filter(None, keys)) if isinstance(keys, list | tuple) else keys


def _check_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if any(not key.isascii() or not key.isprintable() or " " in key for key in keys):
        raise ValueError("not a key of metadata: write it in ASCII without blanks")
    return keys


DigestName = Annotated[Literal["sha-256", "sha-512"] | None, BeforeValidator(_parse_none)]
MetadataKeys = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_parse_keys), AfterValidator(_check_keys)
]


class StoringSettings(BaseModel):
    """Where uploads are kept, how safely, and for how long."""

    upload_dir: Directory = setting(
        "DIRECTORY",
        "Where the bytes and the records beside them are kept.",
        default=Path("uploads"),
    )
    state: Store = setting(
        "STORE",
        "Where offsets are kept and shared between processes: local (the records beside the "
        "data) or a Redis: redis://[:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// with TLS, "
        "unix:///PATH[?db=DATABASE]. Passwords are never printed.",
        default=LOCAL,
        secret=True,
    )
    durability: Durability = setting(
        "LEVEL",
        "What an acknowledgement survives: process (the death of the server), normal (completed "
        "uploads survive a power cut, offsets up to the last background sync) or strict (every "
        "acknowledgement survives a power cut).",
        default=Durability.NORMAL,
    )
    loop_writes: bool = setting(
        "",
        "Let the event loop write small pieces itself while the disk is quick; without it threads "
        "do, which costs CPU: for file systems that are frozen for snapshots while others than "
        "uploads must be answered.",
        default=True,
    )
    reserve: Size = setting(
        "SIZE", "Free space of the file system that uploads never get.", default=256 * 2**20
    )
    max_size: MaxSize = setting(
        "SIZE", "Largest upload that is accepted; none: no limit.", default=None
    )
    expire_after: Life = setting(
        "TIME",
        "Life of an unfinished upload, counted anew with everything it receives; never: kept.",
        default=7 * 86_400.0,
    )
    expire_finished: Life = setting("TIME", "Life of a finished upload; never: kept.", default=None)
    sweep_interval: Wait = setting(
        "TIME",
        "How often expired uploads are looked for; less often where reading all records takes more "
        "than a quarter of it.",
        default=60.0,
    )
    sweep_grace: Time = setting(
        "TIME",
        "How long an upload must be seen expired before its bytes are deleted.",
        default=300.0,
    )
    download: bool = setting("", "Serve finished uploads to GET.", default=True)
    cache_control: FieldValue = setting(
        "TEXT", "Cache-Control of downloads.", default="private, no-cache"
    )
    digest: DigestName = setting(
        "NAME",
        "Compute the digest of every finished file, by sha-256 or sha-512, for the finish event "
        "and the header Repr-Digest, and check the one that clients put into metadata.",
        default=None,
    )
    digest_metadata: MetadataKeys = setting(
        "KEYS",
        "Keys of metadata under which clients put a digest of their file, with commas between; "
        "needs --digest. A file that has another digest is refused and removed.",
        default=("checksum", "digest", "sha256", "sha512"),
    )
    disable: ExtensionNames = setting(
        "NAMES",
        f"Extensions to switch off, with commas between: {', '.join(EXTENSIONS)}.",
        default=(),
    )
