"""What lies in a directory that a server is at work in."""

from __future__ import annotations

import os
from pathlib import Path


def files_under(directory: Path) -> list[Path]:
    """Give the files below a directory; unlike `Path.glob`, fail at no folder that just goes."""
    return [Path(folder, name) for folder, _, names in os.walk(directory) for name in names]


def pins_of(upload_dir: Path) -> list[str]:
    """Name the parts that are held for final uploads."""
    return [path.name for path in files_under(upload_dir / ".tusserver" / "pins")]
