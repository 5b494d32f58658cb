"""`tusserver check` as an operator runs it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.proxies import RunningProxy, documented, exchanged, need_proxy
from tests.support.server import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tusserver", "check", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=19
    )


def test_what_is_right_is_told_and_the_status_is_0(upload_dir):
    upload_dir.chmod(0o750)
    done = run("--upload-dir", str(upload_dir))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok       {upload_dir} can be written.\n" in done.stdout
    assert "\n0 errors, " in done.stdout
    assert not list(upload_dir.iterdir())


def test_what_is_wrong_is_told_with_the_setting_and_the_status_is_1(upload_dir):
    done = run("--upload-dir", str(upload_dir), "--reserve", "1000TiB")
    assert done.returncode == 1
    assert "error    " in done.stdout
    assert "         change: free some space, or lower --reserve\n" in done.stdout


def test_programs_read_json(upload_dir):
    done = run("--upload-dir", str(upload_dir), "--reserve", "1000TiB", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert {tuple(finding) for finding in told["findings"]} == {("level", "code", "text", "remedy")}
    [space] = [finding for finding in told["findings"] if finding["code"] == "space"]
    assert space["level"] == "error"


def test_the_proxy_is_checked_where_it_is_named(make_server):
    need_proxy("nginx")
    server = make_server()
    config = exchanged(documented("nginx"), {"client_max_body_size 0;": ""})
    with RunningProxy("nginx", config, server=f"127.0.0.1:{server.port}", tls=True) as proxy:
        # Without a path, the base path is meant.
        origin = proxy.url.removesuffix("/files/")
        done = run("--upload-dir", str(server.upload_dir), "--insecure", "--url", origin)
    assert done.returncode == 1
    assert "nginx: client_max_body_size 0" in done.stdout


def test_a_url_that_is_none_is_refused():
    for url in ("ftp://example.org", "example.org", "http://example.org/?x"):
        done = run("--url", url)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--url" in done.stderr


def test_a_header_that_is_none_is_refused_and_not_repeated():
    for line in ("secret-without-colon", "Authorization: a\nb", ": secret"):
        done = run("--url", "http://127.0.0.1:9/", "--header", line)
        assert done.returncode == 2
        assert "--header" in done.stderr
        assert "secret" not in done.stderr


def test_patience_is_a_time():
    done = run("--patience", "0")
    assert done.returncode == 2
    assert "--patience" in done.stderr
