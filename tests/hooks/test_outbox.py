"""Events reach their receivers: through outages, kills and restarts, in order, once they can."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.hooks.receivers import HookReceiver, Reply, receiving
from tests.support.ports import free_port
from tests.support.raw import Tus
from tests.support.server import ROOT, TusServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

AFTER = "post-create,post-finish,post-terminate"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the one of the specification
ORDER = ["post-create", "post-finish", "post-terminate"]


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    with receiving() as receiver:
        yield receiver


def flags(*urls: str) -> tuple[str, ...]:
    return ("--webhook-url", ",".join(urls), "--webhook-events", AFTER)


def command(server: TusServer, *words: str, url: str = "") -> subprocess.CompletedProcess[str]:
    more = ("--webhook-url", url) if url else ()
    return subprocess.run(
        [sys.executable, "-m", "tusserver", *words, "--upload-dir", str(server.upload_dir), *more],
        cwd=ROOT, capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip


def listed(server: TusServer, *words: str) -> list[dict[str, Any]]:
    done = command(server, "events", "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def id_of(target: str) -> str:
    return target.rstrip("/").rpartition("/")[2]


def first_seen(kinds: list[str]) -> list[str]:
    return list(dict.fromkeys(kinds))


def test_what_happened_while_a_receiver_was_down_comes_after_a_restart_in_order(receiver):
    receiver.answer = lambda _got: Reply(status=503)
    with TusServer(*flags(receiver.url)) as server:
        tus = Tus(server.url)
        target = tus.upload(b"hello")
        assert tus.delete(target).status == 204
        upload_id = id_of(target)
        assert eventually(lambda: "post-create" in receiver.kinds(upload_id))
        waiting = [entry["type"] for entry in listed(server) if entry["upload"] == upload_id]
        assert waiting == ORDER
        server.kill()
        receiver.answer = lambda _got: None
        server.start()
        assert eventually(lambda: receiver.kinds(upload_id)[-1] == "post-terminate", within=8)
        assert first_seen(receiver.kinds(upload_id)) == ORDER
        for kind in ORDER:
            assert len({got.event_id for got in receiver.of(kind, upload_id=upload_id)}) == 1
        assert eventually(lambda: listed(server) == [])


def test_an_event_that_is_not_taken_holds_back_its_own_upload_only(receiver):
    with TusServer(*flags(receiver.url)) as server:
        tus = Tus(server.url)
        first = tus.create(5)
        blocked = id_of(first)
        assert eventually(lambda: receiver.kinds(blocked) == ["post-create"])
        receiver.answer = lambda got: Reply(status=500) if got.upload_id == blocked else None
        tus.patch(first, 0, b"hello")
        tus.delete(first)
        others = [id_of(tus.upload(b"x")) for _ in range(20)]
        told = ["post-create", "post-finish"]
        assert eventually(lambda: all(receiver.kinds(other) == told for other in others))
        assert "post-terminate" not in receiver.kinds(blocked)
        receiver.answer = lambda _got: None
        assert eventually(lambda: receiver.kinds(blocked)[-1] == "post-terminate", within=8)


def test_two_receivers_do_not_wait_for_each_other(receiver):
    with receiving() as other, TusServer(*flags(receiver.url, other.url)) as server:
        receiver.answer = lambda _got: 2.5
        tus = Tus(server.url)
        ids = [id_of(tus.upload(b"x")) for _ in range(20)]
        told = ["post-create", "post-finish"]
        assert eventually(lambda: all(other.kinds(one) == told for one in ids))
        receiver.answer = lambda _got: None


def test_what_was_set_aside_is_listed_and_sent_again_by_the_operator(receiver):
    receiver.answer = lambda got: Reply(status=500) if got.kind == "post-finish" else None
    with TusServer(*flags(receiver.url), "--webhook-give-up", "1s") as server:
        upload_id = id_of(Tus(server.url).upload(b"hello"))
        assert eventually(lambda: bool(listed(server, "--dead")), within=8)
        (dead,) = listed(server, "--dead")
        assert (dead["type"], dead["upload"], dead["state"]) == (
            "post-finish", upload_id, "set aside",
        )  # fmt: skip
        assert dead["error"].endswith("answered 500")
        assert dead["tries"] >= 2
        assert server.said(f"tusserver resend {dead['event']}"), server.log
        assert dead["event"] in command(server, "events", "--dead", url=receiver.url).stdout
        assert command(server, "resend").returncode == 2
        assert command(server, "resend", "nothing").returncode == 2
        receiver.answer = lambda _got: None
        before = len(receiver.of("post-finish"))
        done = command(server, "resend", dead["event"])
        assert (done.returncode, done.stdout) == (0, "1 delivery will be tried again\n")
        assert eventually(lambda: len(receiver.of("post-finish")) > before)
        assert {got.event_id for got in receiver.of("post-finish")} == {dead["event"]}
        assert eventually(lambda: listed(server) == listed(server, "--dead") == [], within=8)


def test_another_process_delivers_when_the_one_that_did_has_died(receiver):
    with TusServer(*flags(receiver.url)) as first:
        with TusServer(*flags(receiver.url), upload_dir=first.upload_dir) as second:
            upload_id = id_of(Tus(second.url).upload(b"hello"))
            told = ["post-create", "post-finish"]
            assert eventually(lambda: receiver.kinds(upload_id) == told, within=1)
            first.kill()
            upload_id = id_of(Tus(second.url).upload(b"hello"))
            assert eventually(lambda: receiver.kinds(upload_id) == told, within=4)
        first.close()


def test_what_is_sent_is_signed_as_standard_webhooks_says(receiver):
    old = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"
    with TusServer(*flags(receiver.url), "--webhook-secret", f"{SECRET},{old}") as server:
        Tus(server.url).create(5)
        assert eventually(lambda: bool(receiver.got))
    (got,) = receiver.got
    for secret in (SECRET, old):
        assert Webhook(secret).verify(got.body, got.headers)["Type"] == "post-create"
    changed = got.body.replace(b'"Size":5', b'"Size":6')
    with pytest.raises(Exception, match="signature"):
        Webhook(SECRET).verify(changed, got.headers)


def test_a_damaged_file_of_events_stops_the_start_and_is_named(tmp_path):
    directory = tmp_path / "uploads" / ".tusserver" / "outbox"
    directory.mkdir(parents=True)
    (directory / "events.db").write_bytes(b"not a database at all" * 100)
    words = ["--port", "0", "--upload-dir", str(tmp_path / "uploads")]
    words += ["--webhook-url", f"http://127.0.0.1:{free_port()}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tusserver", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "events.db" in done.stderr
    assert "Traceback" not in done.stderr


# --- random kills -------------------------------------------------------------------------


class Client:
    """Creates, fills and removes uploads through a server that dies again and again."""

    def __init__(self, server: TusServer, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self.created: set[str] = set()
        self.finished: set[str] = set()
        self.terminated: set[str] = set()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with suppress(Exception):  # whatever a dying server makes of it
                self._step()
            time.sleep(self._random.uniform(0, 0.01))

    def _step(self) -> None:
        tus = Tus(self._server.url)
        target = tus.create(4)
        upload_id = id_of(target)
        self.created.add(upload_id)
        if self._random.random() < 0.8 and tus.patch(target, 0, b"data").status == 204:
            self.finished.add(upload_id)
        if self._random.random() < 0.4 and tus.delete(target).status == 204:
            self.terminated.add(upload_id)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", ["local", "redis"])
def test_no_event_is_lost_or_invented_while_the_server_is_killed(receiver, kind, request):
    state = "local" if kind == "local" else request.getfixturevalue("redis_server").url
    luck = random.Random(20_26)
    words = (*flags(receiver.url), "--sweep-interval", "500ms")
    with TusServer(*words, state=state) as server:
        clients = [Client(server, seed) for seed in range(4)]
        for _ in range(6):
            time.sleep(luck.uniform(0.1, 0.7))
            server.kill()
            server.start()
        time.sleep(0.5)
        for client in clients:
            client.stop()
        created = set[str]().union(*(client.created for client in clients))
        finished = set[str]().union(*(client.finished for client in clients))
        terminated = set[str]().union(*(client.terminated for client in clients))
        assert len(created) > 50
        assert terminated

        def all_came() -> bool:
            return (
                created <= {got.upload_id for got in receiver.of("post-create")}
                and finished <= {got.upload_id for got in receiver.of("post-finish")}
                and terminated <= {got.upload_id for got in receiver.of("post-terminate")}
            )

        assert eventually(all_came, within=20)
        assert eventually(lambda: listed(server) == [], within=10)
        _check_truth(receiver, Tus(server.url))
        server.check_log()


def _check_truth(receiver: HookReceiver, tus: Tus) -> None:
    """Prove that what was told has happened, in this order, each time with the same id."""
    for upload_id in {got.upload_id for got in receiver.got}:
        kinds = receiver.kinds(upload_id)
        assert kinds == sorted(kinds, key=ORDER.index), kinds
        for kind in set(kinds):
            assert len({got.event_id for got in receiver.of(kind, upload_id=upload_id)}) == 1
        head = tus.head(tus.path + upload_id)
        if "post-terminate" in kinds:
            assert head.status == 404
        else:
            assert head.status == 200
            assert ("post-finish" in kinds) == (head.offset == 4)


def test_what_the_page_shows_verifies_signatures(receiver):
    page = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 - it is our own page
    with TusServer(*flags(receiver.url), "--webhook-secret", SECRET) as server:
        Tus(server.url).create(5)
        assert eventually(lambda: bool(receiver.got))
    (got,) = receiver.got
    names["verify"](SECRET, got.headers, got.body)
    for headers, body in (
        (got.headers, got.body + b" "),
        ({**got.headers, "webhook-id": "another"}, got.body),
        ({**got.headers, "webhook-timestamp": "1"}, got.body),
    ):
        with pytest.raises(ValueError, match=r"secret|old"):
            names["verify"](SECRET, headers, body)
