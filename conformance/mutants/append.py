"""PATCH and the way of the bytes: checks, checksums, trailers (tus 1.0.0, PATCH, Checksum)."""

from __future__ import annotations

from conformance.mutants.exchange import Refusal, Request, Response
from conformance.mutants.grammar import ALGORITHMS, read_checksum, read_integer
from conformance.mutants.state import Upload, Uploads

CONTENT_TYPE = "application/offset+octet-stream"


class Appending(Uploads):
    """How data are appended to an upload."""

    def patch(self, upload: Upload, request: Request) -> Response:
        """Append to an upload."""
        self.check_type(request)
        with self.writing(upload):
            self.check_append(upload, request)
            self.store(upload, request)
            return Response(204, self.appended_fields(upload) | self.expires_field(upload))

    def check_type(self, request: Request) -> None:
        """Refuse a body that does not say that it is part of an upload."""
        if not self.is_upload_type(request):
            raise Refusal(415, f"The Content-Type has to be {CONTENT_TYPE}.")

    def is_upload_type(self, request: Request) -> bool:
        """Tell whether the body is called part of an upload."""
        return (request.fields.get("Content-Type") or "").lower() == CONTENT_TYPE

    def check_append(self, upload: Upload, request: Request) -> None:
        """Refuse what this upload cannot take now."""
        offset = self.requested_offset(request)
        length = self.declared_length(request)
        if upload.parts is not None:
            raise Refusal(403, "A final upload takes no data.")
        self.checksum_of(request)
        self.check_offset(upload, offset)
        if length is not None:
            self.declare_length(upload, length)
        self.check_room(upload, request)

    def requested_offset(self, request: Request) -> int:
        """Read Upload-Offset."""
        raw = request.fields.get("Upload-Offset")
        if raw is None:
            raise Refusal(400, "Upload-Offset is missing.")
        return read_integer("Upload-Offset", raw)

    def check_offset(self, upload: Upload, offset: int) -> None:
        """Refuse an append anywhere else than at the end of what is stored."""
        if offset != len(upload.data):
            current = str(len(upload.data))
            raise Refusal(409, "The upload is at another offset.", Upload_Offset=current)

    def declared_length(self, request: Request) -> int | None:
        """Read Upload-Length."""
        raw = request.fields.get("Upload-Length")
        return None if raw is None else read_integer("Upload-Length", raw)

    def check_size(self, length: int | None) -> None:
        """Refuse what is larger than Tus-Max-Size."""
        if length is not None and length > self.max_size:
            raise Refusal(413, "That is larger than this server takes.")

    def declare_length(self, upload: Upload, length: int) -> None:
        """Settle a deferred length."""
        if upload.length not in (None, length):
            raise Refusal(400, "The length is settled already.")
        if length < len(upload.data):
            raise Refusal(400, "More than this length is stored already.")
        self.check_size(length)
        upload.length = length

    def room_of(self, upload: Upload) -> int:
        """Tell how many bytes may still come."""
        return (self.max_size if upload.length is None else upload.length) - len(upload.data)

    def check_room(self, upload: Upload, request: Request) -> None:
        """Refuse a body that is known to be too long."""
        if upload.parts is None and (request.body.length or 0) > self.room_of(upload):
            raise Refusal(413, "The body is longer than the rest of the upload.")

    def appended_fields(self, upload: Upload) -> dict[str, str]:
        """Give the fields that tell what an append did."""
        return {} if upload.parts is not None else {"Upload-Offset": str(self.offset_of(upload))}

    # --- the bytes ------------------------------------------------------------------------

    def checksum_of(self, request: Request) -> tuple[str, bytes] | None:
        """Read the checksum in the head. Raises: Refusal."""
        raw = request.fields.get("Upload-Checksum")
        if raw is not None and self.announces_trailer(request):
            raise Refusal(400, "Upload-Checksum can be in the head or in the trailer.")
        return None if raw is None else read_checksum(raw)

    def announces_trailer(self, request: Request) -> bool:
        """Tell whether the checksum will come behind the body."""
        return request.body.length is None and "upload-checksum" in request.fields.tokens("Trailer")

    def store(self, upload: Upload, request: Request) -> None:
        """Store the body: what came, as it comes, or with a checksum all of it or nothing."""
        checksum = self.checksum_of(request)
        if checksum is None and not self.announces_trailer(request):
            self.store_pieces(upload, request)
        else:
            self.store_checked(upload, request, checksum)

    def store_pieces(self, upload: Upload, request: Request) -> None:
        """Keep each piece at once, so that a lost connection loses nothing."""
        for piece in request.body.pieces():
            room = self.room_of(upload)
            self.keep(upload, piece[:room])
            if len(piece) > room:
                raise Refusal(413, "The body is longer than the rest of the upload.")

    def store_checked(
        self, upload: Upload, request: Request, checksum: tuple[str, bytes] | None
    ) -> None:
        """Keep the whole body once its digest is right."""
        body = bytearray()
        for piece in request.body.pieces():
            body += piece
            if len(body) > self.room_of(upload):
                raise Refusal(413, "The body is longer than the rest of the upload.")
        self.verify(bytes(body), checksum or self.trailing_checksum(request))
        self.keep(upload, bytes(body))

    def trailing_checksum(self, request: Request) -> tuple[str, bytes]:
        """Read the checksum behind the body. Raises: Refusal."""
        raw = request.body.trailers.get("Upload-Checksum")
        if raw is None:
            raise Refusal(400, "The trailer with Upload-Checksum is missing.")
        return read_checksum(raw)

    def verify(self, body: bytes, checksum: tuple[str, bytes]) -> None:
        """Refuse a body that is not the one of the digest."""
        algorithm, digest = checksum
        if ALGORITHMS[algorithm](body) != digest:
            raise Refusal(460, "The checksum is another one.")

    def keep(self, upload: Upload, piece: bytes) -> None:
        """Append bytes to what is stored."""
        upload.data += piece
        self.touch(upload)
