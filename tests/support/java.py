"""tus-java-client and the program of ours that uploads with it: where they are, how they start.

`python3 -m tests` has Maven fetch the client into a folder that git ignores; without it, or
without a JDK, its tests are skipped, in CI they fail.
"""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.node import REMEDY, ROOT, give_up

SOURCES = ROOT / "tests" / "clients" / "java"
JARS = ROOT / ".test" / "java" / "jars"
QUICK = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
"""What makes a short life of a Java program shorter."""


def what_is_missing() -> str | None:
    """Say what the client from Maven Central lacks; None when it can run."""
    for program in ("java", "javac"):
        if shutil.which(program) is None:
            return f"no {program} found; {REMEDY}"
    if not _client().exists():
        return f"{_client().name} is not there; {REMEDY}"
    return None


def need_java() -> list[str]:
    """Give the command that our program is started with; skip the test where it cannot be.

    The program is compiled the first time.
    """
    missing = what_is_missing()
    if missing is not None:
        give_up(missing)
    return ["java", *QUICK, "-cp", f"{_compiled()}:{JARS}/*", "Upload"]


def _client() -> Path:
    text = (SOURCES / "pom.xml").read_text(encoding="utf-8")
    version = re.search(r"<artifactId>tus-java-client</artifactId>\s*<version>(.+?)<", text)
    assert version is not None
    return JARS / f"tus-java-client-{version[1]}.jar"


@functools.cache
def _compiled() -> Path:
    """Compile the program, once for all tests of this process; give the folder."""
    folder = Path(tempfile.mkdtemp(prefix="java-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source = SOURCES / "Upload.java"
    command = ["javac", "-Xlint:all", "-Werror", "-cp", str(_client()), "-d", folder, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder
