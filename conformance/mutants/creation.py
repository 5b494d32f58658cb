"""POST: new uploads, with data, with a deferred length, out of parts.

tus 1.0.0, Creation, Creation With Upload, Concatenation.
"""

from __future__ import annotations

import secrets
from urllib.parse import unquote_to_bytes

from conformance.mutants.append import Appending
from conformance.mutants.exchange import Refusal, Request, Response
from conformance.mutants.grammar import read_metadata, split_url
from conformance.mutants.state import Upload


class Creating(Appending):
    """How uploads are made."""

    prefix = "/files"

    def create(self, request: Request) -> Response:
        """Make a new upload, with its first data if they came along."""
        upload = self.new_upload(request)
        fields = {"Location": self.location_of(upload, request)}
        self.touch(upload)
        if self.brings_data(request):
            self.check_first_data(upload, request)
            self.uploads[upload.upload_id] = upload
            self.store_first(upload, request)
            fields |= self.appended_fields(upload)
        else:
            for _ in request.body.pieces():
                pass
            self.uploads[upload.upload_id] = upload
        return Response(201, fields | self.expires_field(upload))

    def new_upload(self, request: Request) -> Upload:
        """Read what is to be created. Raises: Refusal."""
        concat = request.fields.get("Upload-Concat")
        parts = self.parts_of(concat, request)
        length = self.length_of(parts, request)
        metadata = self.metadata_of(request)
        return Upload(self.new_id(), length, metadata, concat, parts)

    def new_id(self) -> str:
        """Choose an id that nobody guesses."""
        return secrets.token_urlsafe(18)

    def location_of(self, upload: Upload, request: Request) -> str:
        """Give the URL of an upload."""
        del request
        return f"{self.prefix}/{upload.upload_id}"

    def metadata_of(self, request: Request) -> str:
        """Give the metadata as they came, if they are well-formed."""
        raw = ",".join(request.fields.all("Upload-Metadata"))
        read_metadata(raw)
        return raw

    def length_of(self, parts: list[Upload] | None, request: Request) -> int | None:
        """Tell the length that a new upload will have, None while that is not known."""
        declared = self.declared_length(request)
        deferred = request.fields.get("Upload-Defer-Length")
        if deferred not in (None, "1"):
            raise Refusal(400, "Upload-Defer-Length can only be 1.")
        if parts is not None:
            total = self.sum_of(parts)
            if deferred or declared not in (None, total):
                raise Refusal(400, "The length of a final upload is the sum of its parts.")
            self.check_size(total)
            return None
        if (declared is None) == (deferred is None):
            raise Refusal(400, "Give either Upload-Length or Upload-Defer-Length.")
        self.check_size(declared)
        return declared

    def brings_data(self, request: Request) -> bool:
        """Tell whether the body of a POST is the beginning of the upload."""
        return self.is_upload_type(request)

    def check_first_data(self, upload: Upload, request: Request) -> None:
        """Refuse data that the new upload cannot take, before it exists."""
        if upload.parts is not None and not request.body.ended:
            raise Refusal(403, "A final upload takes no data.")
        self.check_room(upload, request)
        self.checksum_of(request)

    def store_first(self, upload: Upload, request: Request) -> None:
        """Store the data of a POST; what is refused leaves no upload behind."""
        try:
            self.store(upload, request)
        except Refusal:
            del self.uploads[upload.upload_id]
            raise

    # --- concatenation --------------------------------------------------------------------

    def parts_of(self, concat: str | None, request: Request) -> list[Upload] | None:
        """Find the parts of a final upload; None for any other upload."""
        if concat is None or concat == "partial":
            return None
        kind, _, urls = concat.partition(";")
        if kind != "final" or not urls.strip():
            raise Refusal(400, "Upload-Concat is malformed.")
        parts = [self.part_at(url, request) for url in urls.split(" ") if url]
        if any(part.concat != "partial" for part in parts):
            raise Refusal(400, "A final upload is made of partial uploads.")
        return parts

    def part_at(self, url: str, request: Request) -> Upload:
        """Find the part that a URL in Upload-Concat names."""
        authority, _ = split_url(url)
        if authority not in (None, request.fields.get("Host")):
            raise Refusal(400, "A part is on another server.")
        part_id = self.place_of(url)
        if part_id is None:
            raise Refusal(400, "A part is named by a URL that is no upload's.")
        return self.find(part_id)

    def place_of(self, url: str) -> str | None:
        """Tell the id in a URL, None for the creation URL. Raises: Refusal."""
        _, path = split_url(url)
        if path in (self.prefix, f"{self.prefix}/"):
            return None
        root, _, upload_id = path.rpartition("/")
        if root != self.prefix:
            raise Refusal(404, "There is nothing at this URL.")
        return unquote_to_bytes(upload_id).decode("latin-1")
