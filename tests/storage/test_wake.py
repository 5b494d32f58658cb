"""Messages between workers: answered, lost, repeated, to the dead and to the deaf."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import asynccontextmanager, suppress

import pytest

from tests.storage.fakes import open_files, opened
from tests.support.waiting import check_time, soon
from tusserver.errors import StorageFault
from tusserver.ports import Answer, Outcome, Verb
from tusserver.storage import wake
from tusserver.storage.wake import DatagramMailbox
from tusserver.upload import new_upload_id

ID = new_upload_id()


@asynccontextmanager
async def mailboxes(directory, count=2):
    """Give open mailboxes in one directory."""
    made = [DatagramMailbox(directory) for _ in range(count)]
    (directory / ".tusserver").mkdir(parents=True, exist_ok=True)
    try:
        for mailbox in made:
            await mailbox.open()
        yield made
    finally:
        for mailbox in made:
            await mailbox.close()


@pytest.fixture
async def pair(tmp_path):
    async with mailboxes(tmp_path) as made:
        yield made


def raw_socket(directory, name):
    """Bind a socket of the test's own as a worker's mailbox."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    run = os.open(directory / ".tusserver" / "run", os.O_PATH)
    made.bind(f"/proc/self/fd/{run}/{name}.sock")
    os.close(run)
    made.settimeout(2)
    return made


def sockets(directory):
    return {path.name for path in (directory / ".tusserver" / "run").iterdir()}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("answer", [Answer(outcome, 2**62) for outcome in Outcome], ids=str)
async def test_a_question_is_answered_by_who_serves(pair, verb, answer):
    asker, server = pair
    asked = []

    async def serve(verb, upload_id):
        asked.append((verb, upload_id))
        return answer

    server.serve(serve)
    assert await asker.ask(server.name, verb, ID, timeout=2) == answer
    assert asked == [(verb, ID)]


async def test_an_answer_takes_milliseconds(pair):
    asker, server = pair

    async def serve(_verb, _upload_id):
        return Answer(Outcome.RUNNING, 7)

    server.serve(serve)
    with soon(1):
        for _ in range(100):
            await asker.ask(server.name, Verb.TELL, ID, timeout=2)


async def test_many_questions_at_once_are_each_answered_with_their_own_answer(pair):
    asker, server = pair
    offsets = {new_upload_id(): number for number in range(200)}

    async def serve(_verb, upload_id):
        await asyncio.sleep(0.01)
        return Answer(Outcome.RUNNING, offsets[upload_id])

    server.serve(serve)
    answers = await asyncio.gather(
        *(asker.ask(server.name, Verb.TELL, upload_id, timeout=5) for upload_id in offsets)
    )
    assert [answer.offset for answer in answers] == list(offsets.values())


async def test_a_worker_can_ask_itself(pair):
    asker, _ = pair

    async def serve(_verb, _upload_id):
        return Answer(Outcome.BUSY)

    asker.serve(serve)
    assert (await asker.ask(asker.name, Verb.STOP, ID, timeout=2)).outcome is Outcome.BUSY


async def test_a_slow_answer_is_waited_for_and_worked_on_once(pair):
    asker, server = pair
    calls = []

    async def serve(_verb, _upload_id):
        calls.append(1)
        await asyncio.sleep(0.7)  # The question comes three times meanwhile.
        return Answer(Outcome.FREE)

    server.serve(serve)
    assert await asker.ask(server.name, Verb.WAIT, ID, timeout=3) == Answer(Outcome.FREE)
    assert calls == [1]


async def test_who_does_not_answer_in_time_is_given_up(pair):
    asker, server = pair

    async def serve(_verb, _upload_id):
        await asyncio.sleep(60)
        raise AssertionError

    server.serve(serve)
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert await asker.ask(server.name, Verb.STOP, ID, timeout=0.3) is None
    took = loop.time() - start
    assert took >= 0.3
    check_time(took, 1)


async def test_a_question_before_anybody_serves_is_answered_later(pair):
    asker, server = pair
    question = asyncio.create_task(asker.ask(server.name, Verb.TELL, ID, timeout=3))
    await asyncio.sleep(0.1)

    async def serve(_verb, _upload_id):
        return Answer(Outcome.FREE)

    server.serve(serve)
    assert await question == Answer(Outcome.FREE)


async def test_a_lost_answer_is_told_again_without_working_again(pair, tmp_path):
    _, server = pair
    calls = []

    async def serve(_verb, _upload_id):
        calls.append(1)
        return Answer(Outcome.RUNNING, 5)

    server.serve(serve)
    with raw_socket(tmp_path, "w99999999") as asker:
        question = f"? {'0' * 16} w99999999 tell {ID}".encode()
        for _ in range(3):
            path = f"{tmp_path}/.tusserver/run/{server.name}.sock"
            asker.sendto(question, path)
            reply = await asyncio.to_thread(asker.recv, 200)
            assert reply == f"! {'0' * 16} running 5".encode()
    assert calls == [1]


async def test_a_worker_that_died_counts_as_free_at_once_and_its_socket_goes(
    pair, tmp_path, start_worker
):
    asker, _ = pair
    worker = start_worker("deaf")
    worker.kill()
    assert f"{worker.mailbox}.sock" in sockets(tmp_path)
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert await asker.ask(worker.mailbox, Verb.STOP, ID, timeout=5) == Answer(Outcome.FREE)
    assert loop.time() - start < 4
    assert f"{worker.mailbox}.sock" not in sockets(tmp_path)


async def test_a_worker_that_dies_while_it_is_asked_counts_as_free_soon(pair, start_worker):
    asker, _ = pair
    worker = start_worker("deaf")
    question = asyncio.create_task(asker.ask(worker.mailbox, Verb.STOP, ID, timeout=5))
    await asyncio.sleep(0.1)
    assert not question.done()
    worker.kill()
    async with asyncio.timeout(4):
        assert await question == Answer(Outcome.FREE)


async def test_a_worker_that_closed_its_mailbox_or_never_was_counts_as_free(pair):
    asker, server = pair
    await server.close()
    assert await asker.ask(server.name, Verb.STOP, ID, timeout=5) == Answer(Outcome.FREE)
    assert await asker.ask("w12345678", Verb.STOP, ID, timeout=5) == Answer(Outcome.FREE)
    assert await asker.ask("../../etc/passwd", Verb.STOP, ID, timeout=5) == Answer(Outcome.FREE)


async def test_a_stopped_worker_does_not_answer_and_is_not_taken_for_dead(pair, start_worker):
    asker, _ = pair
    worker = start_worker("hold", new_upload_id())
    worker.signal(signal.SIGSTOP)
    assert await asker.ask(worker.mailbox, Verb.STOP, ID, timeout=0.4) is None
    worker.signal(signal.SIGCONT)
    assert await asker.ask(worker.mailbox, Verb.STOP, ID, timeout=5) == Answer(Outcome.FREE)


async def test_a_full_mailbox_is_tried_until_it_has_room(pair, tmp_path):
    asker, _ = pair
    with raw_socket(tmp_path, "w88888888") as full:
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.settimeout(0)
        path = f"{tmp_path}/.tusserver/run/w88888888.sock"
        with sender, suppress(BlockingIOError):
            while True:
                sender.sendto(b"noise", path)
        assert await asker.ask("w88888888", Verb.STOP, ID, timeout=0.2) is None
        question = asyncio.create_task(asker.ask("w88888888", Verb.STOP, ID, timeout=3))
        await asyncio.sleep(0.1)

        def drain():
            while (data := full.recv(200)) == b"noise":
                pass
            return data

        arrived = await asyncio.to_thread(drain)
        nonce = arrived.split()[1].decode()
        full.sendto(f"! {nonce} free 0".encode(), f"{tmp_path}/.tusserver/run/{asker.name}.sock")
        assert await question == Answer(Outcome.FREE)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        b"? x w99999999 stop " + b"0" * 32,
        b"? " + b"0" * 16 + b" ../evil stop " + b"0" * 32,
        b"? " + b"0" * 16 + b" w99999999 dance " + b"0" * 32,
        b"? " + b"0" * 16 + b" w99999999 stop ../../etc/passwd",
        b"! " + b"0" * 16 + b" free 0",
        b"! " + b"0" * 16 + b" who 0",
        b"! " + b"0" * 16 + b" free -1",
        b"\xff" * 200,
        b"x" * 5000,
    ],
    ids=range(11),
)
async def test_what_makes_no_sense_is_ignored(pair, tmp_path, message, caplog):
    asker, server = pair
    calls = []

    async def serve(verb, upload_id):
        calls.append((verb, upload_id))
        return Answer(Outcome.FREE)

    server.serve(serve)
    with raw_socket(tmp_path, "w99999999") as stranger, caplog.at_level(logging.INFO):
        stranger.sendto(message, f"{tmp_path}/.tusserver/run/{server.name}.sock")
        assert await asker.ask(server.name, Verb.STOP, ID, timeout=2) == Answer(Outcome.FREE)
    assert calls == [(Verb.STOP, ID)]
    assert caplog.records == []


async def test_a_fault_while_answering_is_told_as_busy(pair):
    asker, server = pair

    async def serve(_verb, _upload_id):
        raise StorageFault

    server.serve(serve)
    assert await asker.ask(server.name, Verb.TELL, ID, timeout=2) == Answer(Outcome.BUSY)


async def test_a_bug_while_answering_is_logged_and_the_next_question_works(pair, caplog):
    asker, server = pair
    calls = []

    async def serve(_verb, _upload_id):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return Answer(Outcome.FREE)

    server.serve(serve)
    # Sent again after a quarter of a second.
    assert await asker.ask(server.name, Verb.TELL, ID, timeout=2) == Answer(Outcome.FREE)
    assert "ZeroDivisionError" in caplog.text


async def test_only_so_many_answers_are_remembered(pair, monkeypatch):
    asker, server = pair
    monkeypatch.setattr(wake, "MAX_ANSWERS", 10)

    async def serve(_verb, _upload_id):
        return Answer(Outcome.FREE)

    server.serve(serve)
    for _ in range(30):
        await asker.ask(server.name, Verb.TELL, ID, timeout=2)
    assert len(server._answers) == 10
    assert asker._asked == {}


# --- life -----------------------------------------------------------------------------------


async def test_long_upload_directories_work(tmp_path):
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    async with opened(directory), mailboxes(directory) as (asker, server):

        async def serve(_verb, _upload_id):
            return Answer(Outcome.FREE)

        server.serve(serve)
        assert await asker.ask(server.name, Verb.TELL, ID, timeout=2) == Answer(Outcome.FREE)


async def test_opening_removes_the_sockets_of_the_dead_only(tmp_path, start_worker):
    dead, alive = start_worker("deaf"), start_worker("deaf")
    dead.kill()
    stranger = tmp_path / ".tusserver" / "run" / "README"
    stranger.write_text("not a socket")
    async with mailboxes(tmp_path, 1) as (mailbox,):
        assert sockets(tmp_path) == {
            f"{alive.mailbox}.sock",
            f"{mailbox.name}.sock",
            "README",
        }


async def test_closing_removes_the_socket_cancels_the_work_and_leaks_nothing(tmp_path):
    before = open_files()
    async with mailboxes(tmp_path) as (asker, server):
        cancelled = []

        async def serve(_verb, _upload_id):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise
            raise AssertionError

        server.serve(serve)
        question = asyncio.create_task(asker.ask(server.name, Verb.WAIT, ID, timeout=5))
        await asyncio.sleep(0.1)
        await server.close()
        await server.close()
        assert cancelled == [1]
        assert f"{server.name}.sock" not in sockets(tmp_path)
        assert await question == Answer(Outcome.FREE)
    assert open_files() == before


async def test_who_waits_for_an_answer_when_its_own_mailbox_closes_gets_none(pair):
    asker, server = pair
    question = asyncio.create_task(asker.ask(server.name, Verb.STOP, ID, timeout=5))
    await asyncio.sleep(0.05)
    await asker.close()
    async with asyncio.timeout(1):
        assert await question is None


async def test_a_cancelled_question_is_forgotten(pair):
    asker, server = pair
    question = asyncio.create_task(asker.ask(server.name, Verb.STOP, ID, timeout=5))
    await asyncio.sleep(0.05)
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question
    assert asker._asked == {}
