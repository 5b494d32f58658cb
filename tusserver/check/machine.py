"""The machine (floor 5): its boot id, its clock, how many files a process may open."""

from __future__ import annotations

import ctypes
import os
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tusserver.check.findings import Finding, error, fine, warning
from tusserver.storage.identity import BOOT_ID, BOOT_ID_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tusserver.config import Settings

OLDEST_YEAR, LAST_YEAR = 2025, 2100
"""Years in which a clock can be right."""
DESCRIPTORS_PER_CONNECTION = 3
"""A socket, and while it appends a data file and its ledger."""
SPARE_DESCRIPTORS = 200

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")


def check_boot_id(settings: Settings) -> Iterator[Finding]:
    """Look whether restarts of the machine can be told from those of the server."""
    del settings
    source = Path(os.environ.get(BOOT_ID_VARIABLE) or BOOT_ID)
    try:
        text = source.read_bytes().strip()
        reason = "is empty"
    except OSError as failure:
        text, reason = b"", f"cannot be read: {failure.strerror}"
    if text:
        yield fine("boot_id", f"{source} names the life of this machine.")
    else:
        yield warning(
            "boot_id",
            f"{source} {reason}: after each start of the server, offsets fall back to what was "
            "synced.",
            f"make it readable (systemd: no ProcSubset=pid), or name a file in {BOOT_ID_VARIABLE}",
        )


def check_clock(settings: Settings) -> Iterator[Finding]:
    """Look whether the clock can be trusted with expiry and signatures."""
    del settings
    now = datetime.now(UTC)
    remedy = "let the machine synchronise its clock: systemd-timesyncd or chrony"
    if now.year not in range(OLDEST_YEAR, LAST_YEAR):
        yield error("clock", f"The clock says {now:%Y-%m-%d}, which cannot be.", remedy)
    elif is_synchronized():
        yield fine("clock", f"The clock is synchronised: {now:%Y-%m-%d %H:%M:%S} UTC.")
    else:
        yield warning(
            "clock",
            f"The clock ({now:%Y-%m-%d %H:%M:%S} UTC) is not synchronised: expiry, tokens and "
            "signed URLs go by it.",
            remedy,
        )


def is_synchronized() -> bool:
    """Tell whether the kernel, or systemd, says that the clock follows another one."""
    if _SYNCHRONIZED.exists():
        return True
    # struct timex, all zeros: only reads. 256 bytes hold it on every machine.
    state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)))
    return 0 <= state < _TIME_ERROR


def check_descriptors(settings: Settings) -> Iterator[Finding]:
    """Compare how many files a process may open with how many it will."""
    # The server raises its own limit up to the hard one.
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = settings.max_connections
    needed = connections * DESCRIPTORS_PER_CONNECTION + SPARE_DESCRIPTORS
    if limit == resource.RLIM_INFINITY or limit >= needed:
        shown = "any number of" if limit == resource.RLIM_INFINITY else str(limit)
        yield fine("descriptors", f"A process may open {shown} files.")
    else:
        yield warning(
            "descriptors",
            f"A process may open {limit} files, --max-connections {connections} takes {needed}.",
            f"systemd: LimitNOFILE={needed}; docker: --ulimit nofile={needed}; or lower "
            "--max-connections",
        )
