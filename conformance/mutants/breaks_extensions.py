"""Mutants of checksum, termination, expiration and concatenation."""

# The docstring of a class tells what its overriding steps do wrong.
# ruff: noqa: D102, ARG002, PLR2004

from __future__ import annotations

import time
from email.utils import formatdate

from conformance.mutants.exchange import Refusal, Request, Response
from conformance.mutants.grammar import ALGORITHMS
from conformance.mutants.register import mutant
from conformance.mutants.server import TinyTus
from conformance.mutants.state import Upload

SOON = 2.0  # seconds


@mutant("CHK-03")
class ChecksumSwallowed(TinyTus):
    """Checksums are read, and never compared."""

    def verify(self, body: bytes, checksum: tuple[str, bytes]) -> None:
        pass


@mutant("CHK-03")
class MismatchKept(TinyTus):
    """A wrong checksum is answered 460, but the bytes stay."""

    def store_checked(
        self, upload: Upload, request: Request, checksum: tuple[str, bytes] | None
    ) -> None:
        body = b"".join(request.body.pieces())
        self.keep(upload, body)
        self.verify(body, checksum or self.trailing_checksum(request))


@mutant("CHK-04")
class UnknownAlgorithmIgnored(TinyTus):
    """A checksum of an algorithm that is not supported counts as none."""

    def checksum_of(self, request: Request) -> tuple[str, bytes] | None:
        raw = request.fields.get("Upload-Checksum") or ""
        if " " in raw and raw.partition(" ")[0] not in ALGORITHMS:
            return None
        return super().checksum_of(request)


@mutant("CHK-07")
class HashesWholeUpload(TinyTus):
    """The digest is compared with that of everything stored, not of this request."""

    def store_checked(
        self, upload: Upload, request: Request, checksum: tuple[str, bytes] | None
    ) -> None:
        body = b"".join(request.body.pieces())
        self.verify(bytes(upload.data) + body, checksum or self.trailing_checksum(request))
        self.keep(upload, body)


@mutant("CHK-08")
class UnverifiedKept(TinyTus):
    """Bytes whose checksum nobody could verify are kept after a disconnect."""

    def store_checked(
        self, upload: Upload, request: Request, checksum: tuple[str, bytes] | None
    ) -> None:
        before = len(upload.data)
        try:
            self.store_pieces(upload, request)
            body = bytes(upload.data[before:])
            self.verify(body, checksum or self.trailing_checksum(request))
        except Refusal:
            del upload.data[before:]
            raise


@mutant("CHK-11")
class DigestReversed(TinyTus):
    """CRC-32 is announced, but read with its bytes in the other order."""

    def verify(self, body: bytes, checksum: tuple[str, bytes]) -> None:
        algorithm, digest = checksum
        super().verify(body, (algorithm, digest[::-1] if algorithm == "crc32" else digest))


@mutant("CHT-03")
class TrailerIgnored(TinyTus):
    """A checksum in the trailer is not looked at."""

    def announces_trailer(self, request: Request) -> bool:
        return False


@mutant("CHT-02")
class TrailerRefused(TinyTus):
    """A checksum in the trailer is announced, but refused."""

    def checksum_of(self, request: Request) -> tuple[str, bytes] | None:
        if self.announces_trailer(request):
            raise Refusal(400, "Upload-Checksum is missing.")
        return super().checksum_of(request)


@mutant("CHK-12")
class UnknownChecksumCrashes(TinyTus):
    """Without the checksum extension a request with a checksum is answered 500."""

    extensions = tuple(name for name in TinyTus.extensions if not name.startswith("checksum"))

    def checksum_of(self, request: Request) -> tuple[str, bytes] | None:
        if request.fields.all("Upload-Checksum"):
            raise Refusal(500, "Upload-Checksum is not known.")
        return None


@mutant("TER-02")
class DeleteAnswers200(TinyTus):
    """DELETE is answered 200 with a body."""

    def delete(self, upload: Upload) -> Response:
        super().delete(upload)
        return Response(200, {}, b"gone\n")


@mutant("TER-03")
class TerminationLeavesUpload(TinyTus):
    """DELETE is answered 204, and everything stays."""

    def delete(self, upload: Upload) -> Response:
        return Response(204)


@mutant("TER-03")
class TerminatedTakesPatch(TinyTus):
    """After DELETE the upload is gone for HEAD, but PATCH brings it back."""

    def delete(self, upload: Upload) -> Response:
        response = super().delete(upload)
        self.graves = getattr(self, "graves", {}) | {upload.upload_id: upload}
        return response

    def route(self, request: Request) -> Response:
        graves: dict[str, Upload] = getattr(self, "graves", {})
        if self.method_of(request) == "PATCH":
            upload_id = self.place_of(request.target)
            if upload_id in graves:
                self.uploads[upload_id] = graves[upload_id]
        return super().route(request)


@mutant("TER-06")
class WriterResurrects(TinyTus):
    """DELETE during a PATCH is answered 204, and the next byte brings the upload back."""

    def delete(self, upload: Upload) -> Response:
        self.uploads.pop(upload.upload_id, None)
        return Response(204)

    def keep(self, upload: Upload, piece: bytes) -> None:
        super().keep(upload, piece)
        self.uploads[upload.upload_id] = upload


@mutant("EXP-06", lifetime=SOON)
class ExpiredServed(TinyTus):
    """Uploads are still there when Upload-Expires is over."""

    def is_expired(self, upload: Upload) -> bool:
        return False


@mutant("EXP-06", "EXP-08", lifetime=2 * SOON)
class ExpiresEarly(TinyTus):
    """Uploads are gone long before the time that Upload-Expires tells."""

    def is_expired(self, upload: Upload) -> bool:
        return self.may_expire(upload) and time.time() >= upload.expires - self.lifetime / 2


@mutant("EXP-08", lifetime=SOON)
class ExpiresUnderWriter(TinyTus):
    """Uploads are removed at their time while somebody is writing."""

    def touch(self, upload: Upload) -> None:
        if not upload.expires:
            super().touch(upload)
        elif self.is_expired(upload):
            self.uploads.pop(upload.upload_id, None)


@mutant("EXP-02")
class PatchTellsNoEnd(TinyTus):
    """The answer to PATCH does not carry Upload-Expires."""

    def patch(self, upload: Upload, request: Request) -> Response:
        response = super().patch(upload, request)
        response.fields.pop("Upload-Expires", None)
        return response


@mutant("EXP-03")
class CreationTellsNoEnd(TinyTus):
    """The answer to POST does not carry Upload-Expires."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        response.fields.pop("Upload-Expires", None)
        return response


@mutant("EXP-04")
class EndInIsoFormat(TinyTus):
    """Upload-Expires is a date as of ISO 8601."""

    def date(self, seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@mutant("EXP-04")
class EndWithOffset(TinyTus):
    """Upload-Expires is a date as of e-mail, with +0000 instead of GMT."""

    def date(self, seconds: float) -> str:
        return formatdate(seconds)


@mutant("CAT-03")
class PartsInWrongOrder(TinyTus):
    """A final upload joins its parts in the order in which they were made."""

    def parts_of(self, concat: str | None, request: Request) -> list[Upload] | None:
        parts = super().parts_of(concat, request)
        order = list(self.uploads.values())
        return None if parts is None else sorted(parts, key=order.index)


@mutant("CAT-04")
class FinalCountsPartsOnly(TinyTus):
    """The length of a final upload is the number of its parts."""

    def state_fields(self, upload: Upload) -> dict[str, str]:
        fields = super().state_fields(upload)
        if upload.parts is not None and "Upload-Length" in fields:
            fields["Upload-Length"] = str(len(upload.parts))
        return fields


@mutant("CAT-04", "CAT-15")
class OtherPartialsInTheSum(TinyTus):
    """Partial uploads that are not in the list count for the length of a final one."""

    def size_of(self, upload: Upload) -> int | None:
        if upload.parts is None:
            return upload.length
        lengths = [
            other.length or 0 for other in self.uploads.values() if other.concat == "partial"
        ]
        return sum(lengths)


@mutant("CAT-15", max_size=2**20)
class SumOutgrowsLimit(TinyTus):
    """The parts of a final upload may be larger together than Tus-Max-Size."""

    def length_of(self, parts: list[Upload] | None, request: Request) -> int | None:
        return None if parts is not None else super().length_of(parts, request)


@mutant("CAT-05")
class FinalLengthBelieved(TinyTus):
    """Upload-Length on the creation of a final upload replaces the sum."""

    def length_of(self, parts: list[Upload] | None, request: Request) -> int | None:
        if parts is None:
            return super().length_of(parts, request)
        return self.declared_length(request)

    def size_of(self, upload: Upload) -> int | None:
        return super().size_of(upload) if upload.length is None else upload.length


@mutant("CAT-06")
class AbsolutePartsRefused(TinyTus):
    """Parts can be named by paths only."""

    def part_at(self, url: str, request: Request) -> Upload:
        if not url.startswith("/"):
            raise Refusal(400, "A part has to be named by its path.")
        return super().part_at(url, request)


@mutant("CAT-07")
class UnknownPartSkipped(TinyTus):
    """Parts that do not exist are left out in silence."""

    def part_at(self, url: str, request: Request) -> Upload:
        try:
            return super().part_at(url, request)
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            return Upload("", 0, "", "partial")


@mutant("CAT-09")
class PartUsedOnce(TinyTus):
    """A part that is in the list twice is joined once."""

    def parts_of(self, concat: str | None, request: Request) -> list[Upload] | None:
        parts = super().parts_of(concat, request)
        return None if parts is None else list(dict.fromkeys(parts))


@mutant("CAT-10")
class PartMetadataCopied(TinyTus):
    """A final upload inherits the metadata of its first part."""

    def new_upload(self, request: Request) -> Upload:
        upload = super().new_upload(request)
        if upload.parts and not upload.metadata:
            upload.metadata = upload.parts[0].metadata
        return upload


@mutant("CAT-11")
class FinalMetadataLost(TinyTus):
    """The metadata of a final upload are forgotten."""

    def new_upload(self, request: Request) -> Upload:
        upload = super().new_upload(request)
        if upload.parts is not None:
            upload.metadata = ""
        return upload


@mutant("CAT-12")
class FinalTakesPatch(TinyTus):
    """PATCH on a final upload appends to its last part."""

    def patch(self, upload: Upload, request: Request) -> Response:
        if upload.parts is None:
            return super().patch(upload, request)
        last = upload.parts[-1]
        for piece in request.body.pieces():
            self.keep(last, piece)
        last.length = len(last.data)
        return Response(204, {"Upload-Offset": str(self.offset_of(upload))})


@mutant("CAT-HEAD-05")
class KindForgotten(TinyTus):
    """HEAD does not give Upload-Concat back."""

    def state_fields(self, upload: Upload) -> dict[str, str]:
        fields = super().state_fields(upload)
        fields.pop("Upload-Concat", None)
        return fields


@mutant("CAT-HEAD-01")
class UnfinishedFinalTellsOffset(TinyTus):
    """HEAD tells an offset of a final upload whose parts are not complete."""

    def offset_of(self, upload: Upload) -> int | None:
        offset = super().offset_of(upload)
        return len(self.content_of(upload)) if offset is None else offset


@mutant("CAT-UNF-01")
class FinalStaysUnfinished(TinyTus):
    """A final upload that was made early keeps what its parts were then."""

    def new_upload(self, request: Request) -> Upload:
        upload = super().new_upload(request)
        if upload.parts is not None:
            upload.parts = [
                Upload(part.upload_id, part.length, "", part.concat, None, bytearray(part.data))
                for part in upload.parts
            ]
        return upload
