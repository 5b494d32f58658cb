"""Mutants of the core but PATCH: versions, OPTIONS, overrides, HEAD."""

# The docstring of a class tells what its overriding steps do wrong.
# ruff: noqa: D102, ARG002, PLR2004

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.mutants.exchange import Refusal, Request, Response
from conformance.mutants.register import mutant
from conformance.mutants.server import VERSION, TinyTus

if TYPE_CHECKING:
    from conformance.mutants.state import Upload


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


@mutant("CORE-OPT-07")
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


@mutant("CORE-OPT-02")
class ExtensionsBetweenBlanks(TinyTus):
    """Tus-Extension is a list without commas."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        response.fields["Tus-Extension"] = " ".join(self.extensions)
        return response


@mutant("CORE-OPT-03")
class ExtensionsEmpty(TinyTus):
    """Tus-Extension is there, but empty."""

    extensions = ()


@mutant("CORE-OPT-04")
class LargestSizeInWords(TinyTus):
    """Tus-Max-Size has a unit."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        response.fields["Tus-Max-Size"] += "B"
        return response


@mutant("CORE-OPT-05", "CHK-01")
class AlgorithmsUntold(TinyTus):
    """The checksum extension is announced without Tus-Checksum-Algorithm."""

    def options(self, request: Request) -> Response:
        response = super().options(request)
        del response.fields["Tus-Checksum-Algorithm"]
        return response


@mutant("CORE-VER-08")
class VersionWithLetter(TinyTus):
    """Tus-Resumable of answers is v1.0.0."""

    def dressed(self, request: Request, response: Response) -> Response:
        response = super().dressed(request, response)
        response.fields["Tus-Resumable"] = f"v{VERSION}"
        return response


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
