"""A tiny tus 1.0 server, complete and correct, whose every step can be overridden.

It keeps everything in memory and exists to be broken: each mutant overrides one step, and
the suite has to notice. Nobody should store anything with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.mutants.creation import Creating
from conformance.mutants.exchange import Connection, Refusal, Request, Response, Server
from conformance.mutants.grammar import ALGORITHMS

if TYPE_CHECKING:
    from conformance.mutants.state import Upload

VERSION = "1.0.0"
ALLOWED = (
    "Authorization, Content-Type, X-Requested-With, X-Request-ID, X-HTTP-Method-Override, "
    "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Defer-Length, "
    "Upload-Concat, Upload-Checksum"
)
EXPOSED = (
    "Location, Upload-Offset, Upload-Length, Upload-Metadata, Upload-Defer-Length, "
    "Upload-Concat, Upload-Expires, Tus-Version, Tus-Resumable, Tus-Max-Size, Tus-Extension, "
    "Tus-Checksum-Algorithm"
)


class TinyTus(Creating):
    """The tus protocol, core and every extension, on the requests of `exchange`."""

    connection: type[Connection] = Connection
    extensions: tuple[str, ...] = (
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "checksum-trailer",
        "termination",
        "expiration",
        "concatenation",
        "concatenation-unfinished",
    )

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Bind; the caller calls serve_forever and shutdown."""
        return Server(self, self.connection, host, port)

    # --- the frame of every request -------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Answer one request, with an error if need be."""
        try:
            response = self.route(request)
        except Refusal as refusal:
            response = self.refused(refusal)
        return self.dressed(request, response)

    def answer_malformed(self, refusal: Refusal) -> Response:
        """Answer what is not even a request."""
        response = self.refused(refusal)
        response.fields["Tus-Resumable"] = VERSION
        return response

    def refused(self, refusal: Refusal) -> Response:
        """Put a refusal into an answer."""
        fields = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        return Response(refusal.status, fields | refusal.fields, f"{refusal.text}\n".encode())

    def dressed(self, request: Request, response: Response) -> Response:
        """Add what belongs to every answer."""
        response.fields["Tus-Resumable"] = VERSION
        if request.fields.all("Origin"):
            response.fields["Access-Control-Allow-Origin"] = "*"
            response.fields["Access-Control-Expose-Headers"] = EXPOSED
        return response

    def route(self, request: Request) -> Response:
        """Find who answers."""
        method = self.method_of(request)
        if method == "OPTIONS":
            return self.options(request)
        self.check_version(method, request)
        upload_id = self.place_of(request.target)
        if upload_id is None:
            if method != "POST":
                raise Refusal(405, "Uploads are made here by POST.", Allow="OPTIONS, POST")
            return self.create(request)
        return self.route_upload(method, self.find(upload_id), request)

    def route_upload(self, method: str, upload: Upload, request: Request) -> Response:
        """Find who answers a request for one upload."""
        match method:
            case "HEAD":
                return self.head(upload)
            case "GET":
                return self.get(upload)
            case "PATCH":
                return self.patch(upload, request)
            case "DELETE":
                return self.delete(upload)
            case _:
                allowed = "OPTIONS, HEAD, GET, PATCH, DELETE"
                raise Refusal(405, "That method is not for an upload.", Allow=allowed)

    def method_of(self, request: Request) -> str:
        """Tell the method that counts."""
        override = request.fields.get("X-HTTP-Method-Override")
        return override if override and request.fields.all("Tus-Resumable") else request.method

    def check_version(self, method: str, request: Request) -> None:
        """Refuse other versions; browsers that only look need not name one."""
        version = request.fields.get("Tus-Resumable")
        if version is None and method in ("GET", "HEAD"):
            return
        if version != VERSION:
            raise Refusal(412, "This server speaks tus 1.0.0.", Tus_Version=VERSION)

    # --- the methods ----------------------------------------------------------------------

    def options(self, request: Request) -> Response:
        """Say what this server can do."""
        fields = {"Tus-Version": VERSION, "Tus-Max-Size": str(self.max_size)}
        fields["Tus-Extension"] = ",".join(self.extensions)
        fields["Tus-Checksum-Algorithm"] = ",".join(ALGORITHMS)
        if request.fields.all("Origin"):
            fields["Access-Control-Allow-Methods"] = "POST, GET, HEAD, PATCH, DELETE, OPTIONS"
            fields["Access-Control-Allow-Headers"] = ALLOWED
            fields["Access-Control-Max-Age"] = "86400"
        return Response(204, fields)

    def head(self, upload: Upload) -> Response:
        """Tell the state of an upload."""
        with self.writing(upload):
            fields = self.state_fields(upload)
            described = self.offset_of(upload) if self.is_complete(upload) else None
        return Response(200, fields, described=described)

    def state_fields(self, upload: Upload) -> dict[str, str]:
        """Give the fields that describe an upload."""
        fields = {"Cache-Control": "no-store"} | self.expires_field(upload)
        size, offset = self.size_of(upload), self.offset_of(upload)
        if offset is not None:
            fields["Upload-Offset"] = str(offset)
        if size is not None:
            fields["Upload-Length"] = str(size)
        elif upload.parts is None:
            fields["Upload-Defer-Length"] = "1"
        if upload.metadata:
            fields["Upload-Metadata"] = upload.metadata
        if upload.concat is not None:
            fields["Upload-Concat"] = upload.concat
        return fields

    def get(self, upload: Upload) -> Response:
        """Give a complete upload back."""
        if not self.is_complete(upload):
            raise Refusal(404, "This upload is not complete yet.")
        fields = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": "attachment",
            "X-Content-Type-Options": "nosniff",
        }
        content = self.content_of(upload)
        return Response(200, fields, content, described=len(content))

    def delete(self, upload: Upload) -> Response:
        """Remove an upload."""
        with self.writing(upload):
            self.uploads.pop(upload.upload_id, None)
        return Response(204)
