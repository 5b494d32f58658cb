"""Mutants of the core: versions, OPTIONS, HEAD, PATCH."""

# The docstring of a class tells what its overriding steps do wrong.
# ruff: noqa: D102, ARG002, PLR2004

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from conformance.mutants.exchange import Lost, Refusal, Request, Response
from conformance.mutants.register import mutant
from conformance.mutants.server import VERSION, TinyTus
from conformance.mutants.state import Upload

if TYPE_CHECKING:
    from collections.abc import Iterator


@mutant("CORE-VER-01")
class ErrorsWithoutTusResumable(TinyTus):
    """Answers that refuse something do not carry Tus-Resumable."""

    def dressed(self, request: Request, response: Response) -> Response:
        response = super().dressed(request, response)
        if response.status >= 400:
            del response.fields["Tus-Resumable"]
        return response


@mutant("CORE-VER-02")
class WrongVersionProcessed(TinyTus):
    """Any Tus-Resumable is taken for 1.0.0."""

    def check_version(self, method: str, request: Request) -> None:
        pass


@mutant("CORE-VER-03")
class RefusedVersionUntold(TinyTus):
    """The 412 does not say in Tus-Version what would work."""

    def check_version(self, method: str, request: Request) -> None:
        try:
            super().check_version(method, request)
        except Refusal as refusal:
            raise Refusal(refusal.status, refusal.text) from None


@mutant("CORE-VER-04")
class WrongVersionRefusedTooLate(TinyTus):
    """The version is looked at when the request is already done."""

    def check_version(self, method: str, request: Request) -> None:
        pass

    def dressed(self, request: Request, response: Response) -> Response:
        method = self.method_of(request)
        try:
            if method != "OPTIONS":
                super().check_version(method, request)
        except Refusal as refusal:
            response = self.refused(refusal)
        return super().dressed(request, response)


@mutant("CORE-VER-06")
class OptionsWantsVersion(TinyTus):
    """OPTIONS with another Tus-Resumable is refused."""

    def options(self, request: Request) -> Response:
        if request.fields.get("Tus-Resumable") not in (None, VERSION):
            self.check_version("OPTIONS", request)
        return super().options(request)


@mutant("CORE-OPT-01")
class OptionsWithoutVersion(TinyTus):
    """OPTIONS does not tell Tus-Version."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        del response.fields["Tus-Version"]
        return response


@mutant("CORE-OPT-01")
class OptionsOnlyForCreation(TinyTus):
    """OPTIONS works on the creation URL alone."""

    def options(self, request: Request) -> Response:
        if request.target.startswith("/") and self.place_of(request.target) is not None:
            raise Refusal(405, "There are no options.")
        return super().options(request)


@mutant("CORE-OPT-02", "TER-02")
class AnnouncedTerminationMissing(TinyTus):
    """Tus-Extension lists termination, but DELETE is refused."""

    def delete(self, upload: Upload) -> Response:
        raise Refusal(405, "Uploads are not removed.", Allow="OPTIONS, HEAD, GET, PATCH")


@mutant("CORE-MO-01", "CORE-MO-02", "CORE-MO-03")
class OverrideIgnored(TinyTus):
    """X-HTTP-Method-Override has no effect."""

    def method_of(self, request: Request) -> str:
        return request.method


@mutant("CORE-MO-02")
class OverrideOnlyFromPost(TinyTus):
    """X-HTTP-Method-Override counts for POST alone."""

    def method_of(self, request: Request) -> str:
        return super().method_of(request) if request.method == "POST" else request.method


@mutant("CORE-HEAD-01")
class NoughtLeftOut(TinyTus):
    """HEAD leaves Upload-Offset out while it is 0."""

    def state_fields(self, upload: Upload) -> dict[str, str]:
        fields = super().state_fields(upload)
        if fields.get("Upload-Offset") == "0":
            del fields["Upload-Offset"]
        return fields


@mutant("CORE-HEAD-02")
class LengthForgotten(TinyTus):
    """HEAD tells the length only of what is complete."""

    def state_fields(self, upload: Upload) -> dict[str, str]:
        fields = super().state_fields(upload)
        if not self.is_complete(upload):
            fields.pop("Upload-Length", None)
        return fields


@mutant("CORE-HEAD-02")
class LengthRounded(TinyTus):
    """Lengths go through a double, so that 2^53 + 1 becomes 2^53."""

    def declared_length(self, request: Request) -> int | None:
        length = super().declared_length(request)
        return None if length is None else int(float(length))


@mutant("CORE-HEAD-03")
class HeadMayBeCached(TinyTus):
    """HEAD is answered with no-cache instead of no-store."""

    def state_fields(self, upload: Upload) -> dict[str, str]:
        return super().state_fields(upload) | {"Cache-Control": "no-cache"}


@mutant("CORE-HEAD-05", "CORE-HEAD-06")
class UnknownLooksEmpty(TinyTus):
    """HEAD on what does not exist shows an empty upload."""

    def route(self, request: Request) -> Response:
        try:
            return super().route(request)
        except Refusal as refusal:
            if refusal.status != 404 or self.method_of(request) != "HEAD":
                raise
            fields = {"Cache-Control": "no-store", "Upload-Offset": "0"}
            return Response(200, fields)


@mutant("CORE-HEAD-06")
class UnknownTellsOffset(TinyTus):
    """The 404 of HEAD carries an Upload-Offset."""

    def refused(self, refusal: Refusal) -> Response:
        response = super().refused(refusal)
        if refusal.status == 404:
            response.fields["Upload-Offset"] = "0"
        return response


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
            upload.data.extend(bytes(end - len(upload.data)))
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
