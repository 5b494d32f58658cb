"""Messages between the workers of one store: unix datagrams (floor 4; unix(7)).

A question is `? <nonce> <mailbox to answer to> <verb> <upload id>`, an answer
`! <nonce> <outcome> <offset>`. A lost datagram costs a quarter of a second: questions are sent
again until they are answered, and a question that comes twice is worked on once. A worker that
died has no reader on its socket, which the kernel tells at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import secrets
import socket
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tusserver.errors import TusError
from tusserver.ports import Answer, Outcome, Verb
from tusserver.storage.files import PRIVATE_DIRECTORY_MODE, make_directory
from tusserver.storage.layout import Places
from tusserver.storage.trouble import translated
from tusserver.upload import UploadId

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

RESEND = 0.25
"""Seconds after which an unanswered question is sent again."""
RETRY_FULL = 0.05
"""Seconds after which a mailbox that was full is tried again."""
MAX_DATAGRAM = 256
MAX_AT_ONCE = 64
"""Datagrams read in one turn of the loop."""
MAX_ANSWERS = 1024
"""Answers remembered for questions that come again."""

_SOCKET = ".sock"
_NAME = re.compile(r"w[0-9a-f]{8}")
_QUESTION = re.compile(r"\? ([0-9a-f]{16}) (w[0-9a-f]{8}) ([a-z]{1,16}) ([0-9a-f]{32})")
_ANSWER = re.compile(r"! ([0-9a-f]{16}) ([a-z]{1,16}) ([0-9]{1,19})")
_DEAD = frozenset({errno.ECONNREFUSED, errno.ENOENT})
_FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})
_FREE = Answer(Outcome.FREE)


class DatagramMailbox:
    """A `Mailbox` that is a datagram socket in the store's directory."""

    def __init__(self, directory: Path) -> None:
        """Choose a name; nothing is made before `open`."""
        self._run = Places(directory.absolute()).run
        self._name = f"w{secrets.token_hex(4)}"
        self._directory = -1
        self._socket: socket.socket | None = None
        self._handler: Callable[[Verb, UploadId], Awaitable[Answer]] | None = None
        self._asked: dict[str, asyncio.Future[Answer | None]] = {}
        self._working: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._answers: OrderedDict[tuple[str, str], Answer] = OrderedDict()

    @property
    def name(self) -> str:
        """Give the name under which other workers reach this one."""
        return self._name

    # --- life ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the mailbox, and remove those of workers that died. Raises: StorageFault."""
        with translated(self._run, "making a socket in"):
            self._socket = await asyncio.to_thread(self._bind)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _bind(self) -> socket.socket:
        make_directory(self._run, mode=PRIVATE_DIRECTORY_MODE)
        # The path of a socket has 108 bytes: through an open directory any path is short.
        self._directory = os.open(self._run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            made.settimeout(0)
            for entry in self._run.iterdir():
                self._remove_if_dead(entry.name.removesuffix(_SOCKET))
            made.bind(self._address(self._name))
        except BaseException:
            made.close()
            self._close_directory()
            raise
        return made

    def others(self) -> list[str]:
        """Name the workers that use this directory now, but for this one. Blocks.

        Raises: OSError.
        """
        if not self._run.is_dir():
            return []
        opened = os.open(self._run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            names = (entry.name.removesuffix(_SOCKET) for entry in self._run.iterdir())
            return sorted(name for name in names if name != self._name and _is_read(opened, name))
        finally:
            os.close(opened)

    def _address(self, name: str) -> str:
        return f"/proc/self/fd/{self._directory}/{name}{_SOCKET}"

    def _remove_if_dead(self, name: str) -> None:
        """Unlink a socket that nobody reads."""
        if not _NAME.fullmatch(name):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(self._address(name))
            except ConnectionRefusedError:
                with suppress(FileNotFoundError):
                    os.unlink(f"{name}{_SOCKET}", dir_fd=self._directory)
            except OSError:
                return

    def serve(self, answer: Callable[[Verb, UploadId], Awaitable[Answer]]) -> None:
        """Answer what others ask with this function, each question in a task of its own."""
        self._handler = answer

    async def close(self) -> None:
        """Stop answering and remove the mailbox; who still waits for an answer gets None."""
        if self._socket is None:
            return
        made, self._socket = self._socket, None
        asyncio.get_running_loop().remove_reader(made)
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.to_thread(self._unbind, made)

    def _unbind(self, made: socket.socket) -> None:
        # Where it cannot be removed, who opens the directory next does it.
        with suppress(OSError):
            os.unlink(f"{self._name}{_SOCKET}", dir_fd=self._directory)
        made.close()
        self._close_directory()

    def _close_directory(self) -> None:
        if self._directory >= 0:
            descriptor, self._directory = self._directory, -1
            os.close(descriptor)

    # --- asking --------------------------------------------------------------------------

    async def ask(
        self, mailbox: str, verb: Verb, upload_id: UploadId, *, timeout: float
    ) -> Answer | None:
        """Ask another worker; None when it does not answer in `timeout` seconds.

        A worker that is dead (nobody reads its mailbox) counts as FREE at once.
        """
        if not _NAME.fullmatch(mailbox):
            return _FREE  # No worker of ours ever had such a mailbox.
        loop = asyncio.get_running_loop()
        nonce = secrets.token_hex(8)
        question = f"? {nonce} {self._name} {verb.value} {upload_id}"
        deadline = loop.time() + timeout
        answered: asyncio.Future[Answer | None] = loop.create_future()
        self._asked[nonce] = answered
        try:
            while True:
                sent = self._send(mailbox, question)
                if sent is False:
                    await asyncio.to_thread(self._remove_if_dead, mailbox)
                    return _FREE
                left = deadline - loop.time()
                pause = RETRY_FULL if sent is None else RESEND
                done, _ = await asyncio.wait([answered], timeout=max(0.0, min(pause, left)))
                if done:
                    return answered.result()
                if loop.time() >= deadline:
                    return None
        finally:
            del self._asked[nonce]

    def _send(self, mailbox: str, message: str) -> bool | None:
        """Send one datagram; False if nobody reads there, None if it could not be taken now."""
        if self._socket is None:
            return None
        try:
            self._socket.sendto(message.encode("ascii"), self._address(mailbox))
        except OSError as exc:
            if exc.errno in _DEAD:
                return False
            if exc.errno not in _FULL:
                logger.warning("worker %s cannot be reached: %s", mailbox, exc)
            return None
        return True

    # --- answering -----------------------------------------------------------------------

    def _read(self) -> None:
        for _ in range(MAX_AT_ONCE):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as exc:
                logger.warning("reading messages of other workers failed: %s", exc)
                return
            self._take(data.decode("ascii", errors="replace"))

    def _take(self, message: str) -> None:
        question, answer = _QUESTION.fullmatch(message), _ANSWER.fullmatch(message)
        try:
            if question is not None:
                nonce, asker, verb, upload_id = question.groups()
                self._take_question((asker, nonce), Verb(verb), UploadId(upload_id))
            elif answer is not None:
                nonce, outcome, offset = answer.groups()
                self._take_answer(nonce, Answer(Outcome(outcome), int(offset)))
            else:
                logger.debug("a message that makes no sense: %r", message)
        except ValueError:
            logger.debug("a message of another version of this program: %r", message)

    def _take_answer(self, nonce: str, answer: Answer) -> None:
        future = self._asked.get(nonce)
        if future is not None and not future.done():
            future.set_result(answer)

    def _take_question(self, key: tuple[str, str], verb: Verb, upload_id: UploadId) -> None:
        if key in self._working or self._handler is None:
            return  # It is sent again until it is answered.
        known = self._answers.get(key)
        if known is not None:
            self._reply(key, known)
            return
        work = self._work(key, self._handler, verb, upload_id)
        task = asyncio.create_task(work, name=f"{verb.value} of {upload_id} for {key[0]}")
        self._working[key] = task
        task.add_done_callback(partial(self._worked, key))

    async def _work(
        self,
        key: tuple[str, str],
        handler: Callable[[Verb, UploadId], Awaitable[Answer]],
        verb: Verb,
        upload_id: UploadId,
    ) -> None:
        try:
            answer = await handler(verb, upload_id)
        except TusError as error:
            # Whoever asks shall not have to wait to learn that it does not get the upload.
            logger.warning("upload %s: %s failed: %s", upload_id, verb.value, error.message)
            answer = Answer(Outcome.BUSY)
        self._answers[key] = answer
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
        self._reply(key, answer)

    def _worked(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._working[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=error)

    def _reply(self, key: tuple[str, str], answer: Answer) -> None:
        asker, nonce = key
        self._send(asker, f"! {nonce} {answer.outcome.value} {answer.offset}")


def _is_read(run: int, name: str) -> bool:
    """Tell whether somebody reads the mailbox of this name in the open directory `run`."""
    if not _NAME.fullmatch(name):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(f"/proc/self/fd/{run}/{name}{_SOCKET}")
        except OSError:
            return False
    return True
