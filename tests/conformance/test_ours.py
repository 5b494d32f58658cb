"""Our own server under the suite: local state, Redis, two workers; and the suite as a program."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from conformance.report_html import as_html
from conformance.report_json import as_json
from conformance.reproduce import one_line
from conformance.runner import ERROR, FAIL, PASS, UNTESTED, run
from conformance.target import Settings, Target
from tests.support.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.redis_server import RedisServer
    from tests.support.server import TusServer

BINDING = {"M", "S", "m/S", "H"}
# Rows that nothing outside of a server can look at: a kill, its disk, its hooks, two owners.
UNSEEN = {"TER-04", "CHK-09", "CAT-19", "CAT-20"}


def expect_conformance(server: TusServer) -> None:
    found = run(Target(server.url))
    wrong = [
        f"{result.check} {result.clauses}: {result.text}"
        for result in found.results
        if result.outcome in {FAIL, ERROR}
    ]
    assert wrong == []
    outcomes = [row.outcome for row in found.rows if row.clause.level in BINDING]
    assert outcomes.count(PASS) > 80
    assert {row.clause_id for row in found.rows if row.outcome == UNTESTED} <= UNSEEN


@pytest.mark.timeout(60)
def test_ours_keeps_every_rule_with_local_state(make_server: Callable[..., TusServer]) -> None:
    server = make_server("--max-size", "1073741824")
    expect_conformance(server)
    assert not list(server.upload_dir.glob("??/*.meta")), "the suite removes what it made"


@pytest.mark.timeout(60)
def test_a_server_that_takes_little_is_not_blamed_for_it(make_server: Callable[..., TusServer]):
    expect_conformance(make_server("--max-size", "100"))


def test_a_server_that_takes_no_more_uploads_is_not_blamed_for_it(
    make_server: Callable[..., TusServer],
):
    server = make_server("--max-open", "1")
    target = Target(server.url)
    target.create(5)
    results = run(target, only="CORE-PATCH-03").results
    assert [result.outcome for result in results] == [ERROR] * len(results)
    assert "429" in results[0].text


@pytest.mark.timeout(60)
def test_ours_keeps_every_rule_with_redis_and_two_workers(
    make_server: Callable[..., TusServer], redis_server: RedisServer
) -> None:
    expect_conformance(make_server("--workers", "2", state=redis_server.url))


@pytest.mark.timeout(60)
def test_ours_keeps_every_rule_with_local_state_and_two_workers(
    make_server: Callable[..., TusServer],
) -> None:
    expect_conformance(make_server("--workers", "2"))


def test_ours_gives_up_bodies_that_stall_and_uploads_that_expire(
    make_server: Callable[..., TusServer],
) -> None:
    server = make_server("--body-timeout", "1s", "--expire-after", "2s")
    settings = Settings(stall_wait=5.0, expiry_wait=5.0)
    found = run(Target(server.url, settings), only="CORE-PATCH-18,EXP")
    assert found.outcome("CORE-PATCH-18") == PASS
    assert found.outcome("EXP-06") == PASS
    assert [result.text for result in found.results if result.outcome in {FAIL, ERROR}] == []


def test_credentials_of_a_run_are_not_in_its_report(make_server: Callable[..., TusServer]) -> None:
    server = make_server()
    url = server.url.replace("/files/", "/nothing/")
    value = "Bearer letmein"
    found = run(
        Target(url, Settings(headers={"Authorization": value})), only="CORE-HEAD-05,CORE-VER"
    )
    assert found.violations
    assert "Authorization: (hidden)" in as_json(found)
    assert "letmein" not in as_json(found) + as_html(found)


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the suite as its users do, without anything that is installed."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -I -S: no site-packages, so that what is not in the standard library would not be found.
PROGRAM = (
    "import sys; sys.path.insert(0, '.'); sys.argv[0] = 'conformance'; "
    "from conformance.__main__ import main; sys.exit(main())"
)


def test_the_program_reports_as_text_as_data_and_as_a_page(
    make_server: Callable[..., TusServer], tmp_path: Path
) -> None:
    server = make_server()
    data, page = tmp_path / "r.json", tmp_path / "r.html"
    done = program(server.url, "--only", "CORE-HEAD", "--json", str(data), "--html", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CORE-HEAD-03  MUST     pass" in done.stdout
    rows = {row["id"]: row for row in json.loads(data.read_text())["rows"]}
    assert rows["CORE-HEAD-03"]["outcome"] == PASS
    assert set(rows) == {name for name in rows if name.startswith("CORE-HEAD")}
    text = page.read_text()
    assert "CORE-HEAD-03" in text
    assert "<script" not in text
    assert "src=" not in text


def test_the_program_says_by_its_status_that_a_must_failed(
    make_server: Callable[..., TusServer], tmp_path: Path
) -> None:
    server = make_server()
    data = tmp_path / "r.json"
    wrong = server.url.replace("/files/", "/nothing/")
    done = program(wrong, "--profile", "tus1", "--only", "CORE-OPT", "--json", str(data))
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {row["id"]: row for row in json.loads(data.read_text())["rows"]}
    assert rows["CORE-OPT-01"]["outcome"] == FAIL
    shown = rows["CORE-OPT-01"]["checks"][0]
    assert shown["sent"][0].startswith("OPTIONS /nothing/ HTTP/1.1")
    assert shown["came_back"][0].startswith("HTTP/1.1 4")
    assert shown["try"].startswith("curl ")
    assert "CORE-OPT-06" not in rows, "policy is no part of the profile"


@pytest.mark.parametrize(
    "arguments",
    [("ftp://example/",), ("http://127.0.0.1:9/files/",), ("http://h/", "--header", "nothing")],
    ids=["no-http", "nobody-there", "no-header"],
)
def test_what_cannot_run_is_status_2_and_one_sentence(arguments: tuple[str, ...]) -> None:
    done = program(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("conformance: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_line_for_a_shell_repeats_what_failed(make_server: Callable[..., TusServer]) -> None:
    server = make_server()
    found = run(Target(server.url), only="override.a_post_can_be_a_patch")
    assert [result.outcome for result in found.results] == [PASS]
    target = Target(server.url)
    target.exchanges.clear()
    url = target.create(10)
    target.append(url, 3, b"hello")
    line = one_line(target.exchanges, target.exchanges[-1])
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert "409 Conflict" in done.stdout, (line, done.stdout, done.stderr)


def test_the_suite_runs_under_pytest_as_well(make_server: Callable[..., TusServer]) -> None:
    server = make_server()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "conformance"]
    command += ["--tus-url", server.url, "--tus-only", "CORE-HEAD-03,CORE-OPT-04"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout


def test_the_suite_needs_nothing_but_the_standard_library() -> None:
    plug = {"conftest.py", "test_suite.py"}
    for path in sorted((ROOT / "conformance").rglob("*.py")):
        allowed = (
            sys.stdlib_module_names | {"conformance"} | ({"pytest"} if path.name in plug else set())
        )
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= allowed, path
