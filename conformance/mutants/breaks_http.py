"""Mutants of HTTP itself and of what browsers need."""

# The docstring of a class tells what its overriding steps do wrong.
# ruff: noqa: D102, ARG002, PLR2004

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from conformance.mutants.exchange import Connection, Fields, Refusal, Request, Response
from conformance.mutants.register import mutant
from conformance.mutants.server import EXPOSED, TinyTus

if TYPE_CHECKING:
    from conformance.mutants.state import Upload


class SendsBodyOfHead(Connection):
    """Sends the text of an error to HEAD as well."""

    def body_of(self, method: str, response: Response) -> bytes:
        return response.body


@mutant("CORE-HEAD-07")
class HeadHasBody(TinyTus):
    """Errors are told in a body, to HEAD as well."""

    connection = SendsBodyOfHead


class LosesWhatIsBuffered(Connection):
    """Forgets what came together with the last request."""

    def exchange(self) -> bool:
        stays = super().exchange()
        if stays:
            self.rfile = self.connection.makefile("rb")
        return stays


@mutant("HTTP-18")
class PipelinedRequestLost(TinyTus):
    """A request that comes before the last one was answered gets no answer."""

    connection = LosesWhatIsBuffered


class ReadsNamesExactly(Connection):
    """Compares the names of fields letter by letter."""

    def read_request(self) -> Request:
        request = super().read_request()
        request.fields = ExactFields(request.fields.lines)
        return request


class ExactFields(Fields):
    """Fields that are found by their usual spelling alone."""

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.lines if known == name]


@mutant("HTTP-01")
class NamesCaseSensitive(TinyTus):
    """The names of header fields are compared letter by letter."""

    connection = ReadsNamesExactly


class TakesFirstOfTwo(Fields):
    """Fields of which the first one counts."""

    def get(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)


@mutant("HTTP-02")
class FirstOfTwoCounts(TinyTus):
    """Of two fields that contradict each other the first one counts."""

    def route(self, request: Request) -> Response:
        request.fields = TakesFirstOfTwo(request.fields.lines)
        return super().route(request)


class BelievesAnyLength(Connection):
    """Takes the first Content-Length, with or without Transfer-Encoding."""

    def framing(self, version: tuple[int, int], fields: Fields) -> int | None:
        lengths = fields.all("Content-Length")
        if lengths and lengths[0].isdigit():
            return int(lengths[0])
        return super().framing(version, fields)


@mutant("HTTP-04")
class AmbiguousLengthAccepted(TinyTus):
    """Two lengths, or a length and a transfer coding, are taken for one length."""

    connection = BelievesAnyLength


class ReadsTooMuch(Connection):
    """Takes what follows the body for a part of it."""

    def framing(self, version: tuple[int, int], fields: Fields) -> int | None:
        length = super().framing(version, fields)
        if not length or fields.tokens("Expect"):
            return length
        came = self.rfile.peek()  # type: ignore[attr-defined]
        return max(length, len(came))


@mutant("HTTP-06")
class SurplusStored(TinyTus):
    """What comes behind the Content-Length is stored with the body."""

    connection = ReadsTooMuch


class NeverContinues(Connection):
    """Waits for a body whose client waits for 100."""

    def say_continue(self) -> None:
        pass


@mutant("HTTP-08", "CWU-07")
class ExpectationIgnored(TinyTus):
    """100 Continue is never sent."""

    connection = NeverContinues


class HurriesToContinue(Connection):
    """Asks for the body before anybody has looked at the head."""

    def read_request(self) -> Request:
        request = super().read_request()
        if request.fields.tokens("Expect"):
            Connection.say_continue(self)
        return request

    def say_continue(self) -> None:
        pass


@mutant("CWU-07")
class ContinuesTooEarly(TinyTus):
    """100 Continue is sent even to requests that are refused for their head."""

    connection = HurriesToContinue


class WantsNoHost(Connection):
    """Serves requests without Host."""

    def check_host(self, version: tuple[int, int], fields: Fields) -> None:
        pass


@mutant("HTTP-16")
class HostNotWanted(TinyTus):
    """HTTP/1.1 without Host is served."""

    connection = WantsNoHost


class HangsUpOnError(Connection):
    """Resets a client that still sends, before it can read why it was refused."""

    def linger(self) -> None:
        pass


@mutant("HTTP-09")
class RefusalNeverRead(TinyTus):
    """A client that is refused while it sends is reset, and never learns why."""

    connection = HangsUpOnError


class GoesOnAfterError(Connection):
    """Reads the body of a refused request as the next request."""

    def may_stay(self, request: Request) -> bool:
        return request.stays


@mutant("HTTP-19")
class UnreadBodyIsNextRequest(TinyTus):
    """After an error the body that was not read is taken for the next request."""

    connection = GoesOnAfterError


@mutant("HTTP-17")
class UnpacksGzip(TinyTus):
    """Bodies with Content-Encoding: gzip are unpacked before they are stored."""

    def store_pieces(self, upload: Upload, request: Request) -> None:
        if request.fields.get("Content-Encoding") != "gzip":
            super().store_pieces(upload, request)
            return
        unpacker = zlib.decompressobj(31)
        for piece in request.body.pieces():
            self.keep(upload, unpacker.decompress(piece)[: self.room_of(upload)])


@mutant("HTTP-16")
class HostReflected(TinyTus):
    """Any Host gets into Location as it is."""

    connection = WantsNoHost

    def location_of(self, upload: Upload, request: Request) -> str:
        host = "".join(request.fields.all("Host")[:1])
        return f"http://{host}{super().location_of(upload, request)}"


@mutant("HTTP-12")
class StarCrashes(TinyTus):
    """OPTIONS * is answered 500."""

    def options(self, request: Request) -> Response:
        if request.target == "*":
            raise Refusal(500, "There is no path in *.")
        return super().options(request)


@mutant("CORS-03")
class OffsetNotExposed(TinyTus):
    """Scripts from elsewhere may not read Upload-Offset and Location."""

    def dressed(self, request: Request, response: Response) -> Response:
        response = super().dressed(request, response)
        name = "Access-Control-Expose-Headers"
        if name in response.fields:
            response.fields[name] = EXPOSED.replace("Location, Upload-Offset, ", "")
        return response


@mutant("CORS-04")
class ErrorsWithoutCors(TinyTus):
    """Scripts from elsewhere may not read errors."""

    def dressed(self, request: Request, response: Response) -> Response:
        response = super().dressed(request, response)
        if response.status >= 400:
            response.fields.pop("Access-Control-Allow-Origin", None)
        return response


@mutant("CORS-01")
class PreflightForgetsPatch(TinyTus):
    """The preflight does not allow PATCH and DELETE."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        if "Access-Control-Allow-Methods" in response.fields:
            response.fields["Access-Control-Allow-Methods"] = "GET, HEAD, POST, OPTIONS"
        return response


@mutant("CORS-02")
class PreflightForgetsMetadata(TinyTus):
    """The preflight allows no Upload-Metadata."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        name = "Access-Control-Allow-Headers"
        if name in response.fields:
            response.fields[name] = response.fields[name].replace("Upload-Metadata, ", "")
        return response


@mutant("CORS-05")
class AnyOriginWithCredentials(TinyTus):
    """Every origin is allowed by a star, and with credentials, which browsers refuse."""

    def dressed(self, request: Request, response: Response) -> Response:
        response = super().dressed(request, response)
        if "Access-Control-Allow-Origin" in response.fields:
            response.fields["Access-Control-Allow-Credentials"] = "true"
        return response
