"""What a server with these settings would find on this machine (floor 5).

One function per subject, in `SUBJECTS`: it gives findings and never raises for what it finds.
All of them block. Nothing is made but files without a name, which vanish by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tusserver.check.credentials import check_access, check_certificate, check_receivers
from tusserver.check.directory import check_directory, check_file_system, check_space
from tusserver.check.machine import check_boot_id, check_clock, check_descriptors
from tusserver.check.redis import check_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tusserver.check.findings import Finding
    from tusserver.config import Settings

    Subject = Callable[[Settings], Iterable[Finding]]

SUBJECTS: tuple[Subject, ...] = (
    check_directory,
    check_space,
    check_file_system,
    check_state,
    check_boot_id,
    check_clock,
    check_descriptors,
    check_certificate,
    check_access,
    check_receivers,
)
"""What is looked at, in this order."""


def check_settings(settings: Settings) -> list[Finding]:
    """Look at everything that the settings rely on. Blocks, for some seconds at most."""
    return [finding for subject in SUBJECTS for finding in subject(settings)]
