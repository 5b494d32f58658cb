"""Mutants of PATCH."""

# The docstring of a class tells what its overriding steps do wrong.
# ruff: noqa: D102, ARG002

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from conformance.mutants.exchange import Connection, Lost, Refusal, Request, Response
from conformance.mutants.register import mutant
from conformance.mutants.server import TinyTus
from conformance.mutants.state import Upload

if TYPE_CHECKING:
    from collections.abc import Iterator


class NeverTimesOut(Connection):
    """Has all the patience there is."""

    def handle(self) -> None:
        self.server.application.patience = 3600.0
        super().handle()


@mutant("CORE-PATCH-02")
class PatchAnswers200(TinyTus):
    """A PATCH that worked is answered 200 with a body."""

    def patch(self, upload: Upload, request: Request) -> Response:
        return Response(200, super().patch(upload, request).fields, b"stored\n")


@mutant("CORE-PATCH-03")
class CountsOneRequest(TinyTus):
    """The answer to PATCH tells how many bytes came with it, not the new offset."""

    def patch(self, upload: Upload, request: Request) -> Response:
        before = len(upload.data)
        response = super().patch(upload, request)
        response.fields["Upload-Offset"] = str(len(upload.data) - before)
        return response


@mutant("CORE-PATCH-04")
class TypeIgnored(TinyTus):
    """PATCH stores bodies of any Content-Type."""

    def check_type(self, request: Request) -> None:
        pass


@mutant("CORE-PATCH-04")
class MissingTypeAccepted(TinyTus):
    """PATCH without Content-Type is stored."""

    def check_type(self, request: Request) -> None:
        if request.fields.all("Content-Type"):
            super().check_type(request)


@mutant("CORE-PATCH-06")
class OffsetIgnored(TinyTus):
    """The body is appended whatever Upload-Offset says."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        pass


@mutant("CORE-PATCH-06")
class LowerOffsetRewrites(TinyTus):
    """An Upload-Offset below the end cuts off what is stored behind it."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        if offset < len(upload.data):
            del upload.data[offset:]
        super().check_offset(upload, offset)


@mutant("CORE-PATCH-06")
class RefusedBytesStored(TinyTus):
    """The 409 for a wrong offset comes when the body is already appended."""

    def check_offset(self, upload: Upload, offset: int) -> None:
        self.late = offset, len(upload.data)

    def store(self, upload: Upload, request: Request) -> None:
        super().store(upload, request)
        offset, before = self.late
        if offset != before:
            raise Refusal(409, "The upload is at another offset.")


@mutant("CORE-PATCH-08")
class NegativeOffsetAccepted(TinyTus):
    """An Upload-Offset of -1 counts as the end of what is stored."""

    def check_append(self, upload: Upload, request: Request) -> None:
        lines = request.fields.lines
        for index, (name, value) in enumerate(lines):
            if name.lower() == "upload-offset" and value.startswith(("-", "+")):
                lines[index] = name, str(len(upload.data))
        super().check_append(upload, request)


@mutant("CORE-PATCH-10")
class PatchCreates(TinyTus):
    """PATCH on an unknown URL makes an upload there."""

    def route(self, request: Request) -> Response:
        if self.method_of(request) == "PATCH":
            upload_id = self.place_of(request.target)
            if upload_id is not None and upload_id not in self.uploads:
                self.uploads[upload_id] = upload = Upload(upload_id, None, "")
                self.touch(upload)
        return super().route(request)


@mutant("CORE-PATCH-11")
class EmptyPatchRefused(TinyTus):
    """PATCH without a byte is refused."""

    def check_append(self, upload: Upload, request: Request) -> None:
        super().check_append(upload, request)
        if request.body.length == 0:
            raise Refusal(400, "There is nothing to append.")


@mutant("CORE-PATCH-13", "CORE-PATCH-14")
class OverrunStored(TinyTus):
    """More than the length is stored when Content-Length says so."""

    def room_of(self, upload: Upload) -> int:
        return self.max_size


@mutant("CORE-PATCH-14")
class OverrunCountedLate(TinyTus):
    """A body that is too long is refused after it was stored."""

    def check_room(self, upload: Upload, request: Request) -> None:
        pass

    def keep(self, upload: Upload, piece: bytes) -> None:
        super().keep(upload, piece)
        if upload.length is not None and len(upload.data) > upload.length:
            raise Refusal(413, "The body is longer than the rest of the upload.")

    def room_of(self, upload: Upload) -> int:
        return self.max_size


@mutant("CORE-PATCH-15")
class ChunkedOverrunStored(TinyTus):
    """A chunked body goes on being stored behind the length."""

    def store_pieces(self, upload: Upload, request: Request) -> None:
        for piece in request.body.pieces():
            self.keep(upload, piece)


@mutant("CORE-PATCH-16")
class LosesPartialData(TinyTus):
    """What came before a disconnect is thrown away."""

    def store_pieces(self, upload: Upload, request: Request) -> None:
        before = len(upload.data)
        try:
            super().store_pieces(upload, request)
        except Lost:
            del upload.data[before:]
            raise


@mutant("CORE-PATCH-16", "CORE-PATCH-17")
class PromisesUnstored(TinyTus):
    """The offset moves by the Content-Length before the bytes are there."""

    def store_pieces(self, upload: Upload, request: Request) -> None:
        end = len(upload.data) + (request.body.length or 0)
        try:
            super().store_pieces(upload, request)
        except Lost:
            upload.data.extend(bytes(max(0, end - len(upload.data))))
            raise


@mutant("CORE-PATCH-01", "CORE-PATCH-16")
class FlipsByteOnResume(TinyTus):
    """The first byte that comes after a resume is stored inverted."""

    def store_pieces(self, upload: Upload, request: Request) -> None:
        before = len(upload.data)
        try:
            super().store_pieces(upload, request)
        finally:
            if 0 < before < len(upload.data):
                upload.data[before] ^= 0xFF


@mutant("CORE-PATCH-18", patience=1.5)
class WaitsForEver(TinyTus):
    """A body that stops coming is waited for without end."""

    connection = NeverTimesOut


@mutant("CORE-PATCH-22")
class PatchOnCreationUrl(TinyTus):
    """PATCH on the creation URL is taken for a POST."""

    def route(self, request: Request) -> Response:
        if request.method == "PATCH" and request.target.rstrip("/").endswith(self.prefix):
            request.fields.lines.append(("Upload-Defer-Length", "1"))
            return self.create(request)
        return super().route(request)


@mutant("CORE-PATCH-19", "CORE-MO-05")
class ChunkedRefused(TinyTus):
    """PATCH wants a Content-Length."""

    def check_room(self, upload: Upload, request: Request) -> None:
        if request.body.length is None:
            raise Refusal(411, "Content-Length is missing.")
        super().check_room(upload, request)


@mutant("CORE-PATCH-20", "CORE-PATCH-21")
class SecondWriterAllowed(TinyTus):
    """Nobody looks whether somebody else is writing."""

    @contextlib.contextmanager
    def writing(self, upload: Upload) -> Iterator[None]:
        if self.uploads.get(upload.upload_id) is not upload:
            raise Refusal(404, "There is no such upload.")
        yield


@mutant("CORE-HEAD-10", "CORE-PATCH-21")
class BusyIsNotFound(TinyTus):
    """An upload that is being written to is 404 for everybody else."""

    @contextlib.contextmanager
    def writing(self, upload: Upload) -> Iterator[None]:
        if upload.lock.locked():
            raise Refusal(404, "There is no such upload.")
        with super().writing(upload):
            yield
