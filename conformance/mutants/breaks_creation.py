"""Mutants of creation, metadata, deferred length and creation with upload."""

# The docstring of a class tells what its overriding steps do wrong.
# ruff: noqa: D102, ARG002

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from conformance.mutants.exchange import Refusal, Request, Response
from conformance.mutants.grammar import read_metadata
from conformance.mutants.register import mutant
from conformance.mutants.server import TinyTus

if TYPE_CHECKING:
    from conformance.mutants.state import Upload


@mutant("CRE-03")
class LocationWithWrongHost(TinyTus):
    """Location is absolute and names a host that is not this server."""

    def location_of(self, upload: Upload, request: Request) -> str:
        return f"http://backend.invalid:1080{super().location_of(upload, request)}"


@mutant("CRE-03")
class LocationIsBareId(TinyTus):
    """Location is the id without the path, which leads elsewhere."""

    def location_of(self, upload: Upload, request: Request) -> str:
        return f"/{upload.upload_id}"


@mutant("CRE-04")
class ForwardedHostBelieved(TinyTus):
    """Location is made of X-Forwarded-Host as anybody sends it."""

    def location_of(self, upload: Upload, request: Request) -> str:
        host = "".join(request.fields.all("X-Forwarded-Host")[:1])
        path = super().location_of(upload, request)
        return f"http://{host}{path}" if host else path


@mutant("CRE-08")
class BothLengthsAccepted(TinyTus):
    """Upload-Length and Upload-Defer-Length together make an upload."""

    def length_of(self, parts: list[Upload] | None, request: Request) -> int | None:
        if request.fields.all("Upload-Length"):
            request.fields.lines = [
                line for line in request.fields.lines if line[0].lower() != "upload-defer-length"
            ]
        return super().length_of(parts, request)


@mutant("CRE-02")
class CreatedIs200(TinyTus):
    """POST is answered 200."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        response.status = 200
        return response


@mutant("CRE-05", "CORE-HEAD-01")
class BornComplete(TinyTus):
    """A new upload is filled with zero bytes that nobody sent."""

    def new_upload(self, request: Request) -> Upload:
        upload = super().new_upload(request)
        if upload.length is not None and upload.length < 2**20:
            upload.data = bytearray(upload.length)
        return upload


@mutant("CRE-06")
class LengthNotWanted(TinyTus):
    """POST with neither a length nor its deferral makes an upload."""

    def length_of(self, parts: list[Upload] | None, request: Request) -> int | None:
        names = {name.lower() for name, _ in request.fields.lines}
        if parts is None and not names & {"upload-length", "upload-defer-length"}:
            return None
        return super().length_of(parts, request)


@mutant("CRE-07")
class NegativeLengthAccepted(TinyTus):
    """Upload-Length is read as any integer, negative ones too."""

    def declared_length(self, request: Request) -> int | None:
        raw = request.fields.get("Upload-Length")
        if raw is None:
            return None
        with contextlib.suppress(ValueError):
            return int(raw)
        return super().declared_length(request)


@mutant("CRE-09")
class EmptyNeverComplete(TinyTus):
    """An upload of length 0 stays unfinished."""

    def is_complete(self, upload: Upload) -> bool:
        return super().is_complete(upload) and upload.length != 0


@mutant("CRE-09")
class EmptyRefused(TinyTus):
    """An upload of length 0 cannot be made."""

    def length_of(self, parts: list[Upload] | None, request: Request) -> int | None:
        if (length := super().length_of(parts, request)) == 0:
            raise Refusal(400, "Upload-Length has to be positive.")
        return length


@mutant("CRE-10", "DEF-08")
class MaxSizeIgnored(TinyTus):
    """Tus-Max-Size is told, but not kept."""

    def check_size(self, length: int | None) -> None:
        pass


@mutant("CRE-12")
class OneIdForAll(TinyTus):
    """Every new upload takes the place of the last one."""

    def new_id(self) -> str:
        return "upload"


@mutant("CRE-13")
class AnyBodyIsData(TinyTus):
    """The body of POST is stored whatever its Content-Type says."""

    def brings_data(self, request: Request) -> bool:
        return not request.body.ended


@mutant("META-01")
class MetadataLost(TinyTus):
    """Upload-Metadata is checked and forgotten."""

    def metadata_of(self, request: Request) -> str:
        super().metadata_of(request)
        return ""


@mutant("META-01")
class MetadataReordered(TinyTus):
    """HEAD gives the pairs back in another order."""

    def metadata_of(self, request: Request) -> str:
        return ",".join(reversed(super().metadata_of(request).split(",")))


@mutant("META-01", "META-08", "META-13")
class MetadataDecoded(TinyTus):
    """HEAD gives the values back decoded."""

    def metadata_of(self, request: Request) -> str:
        pairs = read_metadata(super().metadata_of(request))
        return ",".join(f"{key} {value.decode('latin-1')}" for key, value in pairs.items())


@mutant("META-06")
class EmptyValueRefused(TinyTus):
    """A key without a value makes the whole request bad."""

    def metadata_of(self, request: Request) -> str:
        raw = super().metadata_of(request)
        if not all(read_metadata(raw).values()):
            raise Refusal(400, "Upload-Metadata has a key without a value.")
        return raw


@mutant("META-10")
class EmptyMetadataRefused(TinyTus):
    """An empty Upload-Metadata makes the request bad, though some clients always send one."""

    def metadata_of(self, request: Request) -> str:
        if request.fields.all("Upload-Metadata") == [""]:
            raise Refusal(400, "Upload-Metadata is empty.")
        return super().metadata_of(request)


@mutant("META-13")
class MetadataOnlyText(TinyTus):
    """Values that are no UTF-8 are refused."""

    def metadata_of(self, request: Request) -> str:
        raw = super().metadata_of(request)
        try:
            for value in read_metadata(raw).values():
                value.decode()
        except UnicodeDecodeError as error:
            raise Refusal(400, "Upload-Metadata has a value that is no text.") from error
        return raw


@mutant("META-04", "META-05", "META-07")
class BadMetadataCrash(TinyTus):
    """Metadata that cannot be read are answered 500."""

    def metadata_of(self, request: Request) -> str:
        try:
            return super().metadata_of(request)
        except Refusal as refusal:
            raise Refusal(500, refusal.text) from None


@mutant("DEF-09", max_size=2**20)
class DeferredOutgrowsLimit(TinyTus):
    """An upload whose length is deferred may grow beyond Tus-Max-Size."""

    def room_of(self, upload: Upload) -> int:
        return 2**60 if upload.length is None else super().room_of(upload)


@mutant("DEF-02")
class AnyDeferralAccepted(TinyTus):
    """Upload-Defer-Length defers the length whatever it says."""

    def length_of(self, parts: list[Upload] | None, request: Request) -> int | None:
        request.fields.lines = [
            (name, "1" if name.lower() == "upload-defer-length" else value)
            for name, value in request.fields.lines
        ]
        return super().length_of(parts, request)


@mutant("DEF-03")
class DeferralUntold(TinyTus):
    """HEAD does not say that the length is deferred."""

    def state_fields(self, upload: Upload) -> dict[str, str]:
        fields = super().state_fields(upload)
        fields.pop("Upload-Defer-Length", None)
        return fields


@mutant("DEF-04")
class DeferredForEver(TinyTus):
    """The length that a PATCH declares is not kept."""

    def declare_length(self, upload: Upload, length: int) -> None:
        before = upload.length
        super().declare_length(upload, length)
        upload.length = before


@mutant("DEF-05")
class LengthChangeable(TinyTus):
    """A length that is settled can be declared anew."""

    def declare_length(self, upload: Upload, length: int) -> None:
        upload.length = None
        super().declare_length(upload, length)


@mutant("DEF-07")
class LengthBelowOffset(TinyTus):
    """A length can be declared that is smaller than what is stored."""

    def declare_length(self, upload: Upload, length: int) -> None:
        if length >= len(upload.data):
            super().declare_length(upload, length)
        else:
            upload.length = length


@mutant("CWU-02", "CWU-03")
class FirstDataDropped(TinyTus):
    """The data of a POST are read and thrown away."""

    def store_first(self, upload: Upload, request: Request) -> None:
        for _ in request.body.pieces():
            pass


@mutant("CWU-02")
class FirstOffsetUntold(TinyTus):
    """The 201 for a POST with data does not tell Upload-Offset."""

    def create(self, request: Request) -> Response:
        response = super().create(request)
        response.fields.pop("Upload-Offset", None)
        return response


@mutant("CWU-01")
class FirstDataUnannounced(TinyTus):
    """The data of a POST are stored, though Tus-Extension does not say so."""

    extensions = tuple(name for name in TinyTus.extensions if name != "creation-with-upload")


@mutant("CWU-10")
class FinalTakesFirstData(TinyTus):
    """A POST that makes a final upload may bring data."""

    def check_first_data(self, upload: Upload, request: Request) -> None:
        if upload.parts is None:
            super().check_first_data(upload, request)
