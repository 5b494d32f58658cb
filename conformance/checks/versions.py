"""Checks of Tus-Resumable and Tus-Version (tus 1.0.0, Core Protocol, Headers)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_field, expect_status
from conformance.evidence import expect_offset, expect_untouched, sample, unknown
from conformance.target import OFFSET_STREAM

if TYPE_CHECKING:
    from conformance.target import Target
    from conformance.wire import Response

CREATION = ("creation",)
OTHER = {"Tus-Resumable": "0.2.2"}
NONE = {"Tus-Resumable": None}
VERSIONS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+([ \t]*,[ \t]*[0-9]+\.[0-9]+\.[0-9]+)*")


def _four(tus: Target, url: str, fields: dict[str, str]) -> list[Response]:
    """Send a POST, a HEAD, a PATCH and a DELETE with further fields."""
    return [
        tus.post(fields={"Upload-Length": "5", **fields}),
        tus.head(url, fields),
        tus.append(url, 0, b"hello", fields),
        tus.delete(url, fields),
    ]


@check("CORE-VER-01", "CORE-VER-08", needs=CREATION)
def successes_name_the_version(tus: Target) -> None:
    """The successes of POST, HEAD and PATCH carry Tus-Resumable: 1.0.0."""
    created = tus.post(fields={"Upload-Length": "5"})
    expect_field(created, "Tus-Resumable", "1.0.0")
    url = tus.create(5)
    expect_field(tus.head(url), "Tus-Resumable", "1.0.0")
    expect_field(tus.append(url, 0, b"hello"), "Tus-Resumable", "1.0.0")


@check("CORE-VER-01", needs=CREATION)
def refusals_name_the_version(tus: Target) -> None:
    """Refusals carry Tus-Resumable: 404, 409, 415 and 400 alike."""
    url, missing = tus.create(5), unknown(tus)
    refusals = [
        tus.head(missing),
        tus.append(missing, 0, b"hello"),
        tus.append(url, 3, b"lo"),
        tus.append(url, 0, b"hello", {"Content-Type": "text/plain"}),
        tus.post(fields={"Upload-Length": "-1"}),
    ]
    for response in refusals:
        expect(response.status >= 400, f"expected a refusal, got {response.status}", response)
        expect_field(response, "Tus-Resumable", "1.0.0")


@check("CORE-VER-01", needs=("creation", "termination"))
def termination_names_the_version(tus: Target) -> None:
    """DELETE carries Tus-Resumable, for an upload and for what is none."""
    expect_field(tus.delete(tus.create(5)), "Tus-Resumable", "1.0.0")
    expect_field(tus.delete(unknown(tus)), "Tus-Resumable", "1.0.0")


@check("CORE-VER-02", needs=CREATION)
def another_version_is_refused(tus: Target) -> None:
    """POST, HEAD and PATCH with a version that is not supported are 412."""
    for response in _four(tus, tus.create(5), OTHER)[:3]:
        expect_status(response, 412)


@check("CORE-VER-02", needs=("creation", "termination"))
def another_version_is_refused_at_termination(tus: Target) -> None:
    """DELETE with a version that is not supported is 412."""
    expect_status(tus.delete(tus.create(5), OTHER), 412)


@check("CORE-VER-03", needs=CREATION)
def the_412_names_the_versions(tus: Target) -> None:
    """A 412 carries Tus-Version with 1.0.0."""
    answers = [one for one in _four(tus, tus.create(5), OTHER) if one.status == 412]
    if not answers:
        raise NotApplicable("there is no 412")
    for response in answers:
        expect(
            "1.0.0" in response.listed("Tus-Version"),
            f"expected 1.0.0 in Tus-Version, got {response.get('Tus-Version')!r}",
            response,
        )


@check("CORE-VER-04", needs=CREATION)
def another_version_changes_nothing(tus: Target) -> None:
    """POST, PATCH and DELETE of a wrong version create, store and remove nothing."""
    data = sample(5)
    url = tus.create(5)
    created = tus.post(
        fields={"Upload-Length": "5", "Content-Type": OFFSET_STREAM, **OTHER}, body=data
    )
    expect_field(created, "Location", None)
    tus.append(url, 0, b"wrong", OTHER)
    expect_offset(tus, url, 0, "after a PATCH of a wrong version")
    tus.delete(url, OTHER)
    expect_untouched(tus, url, data, 0)


@check("CORE-VER-05", needs=CREATION)
def a_missing_version_changes_nothing(tus: Target) -> None:
    """POST and PATCH without Tus-Resumable are refused (412, or as no tus request at all)."""
    url = tus.create(5)
    response = tus.append(url, 0, b"hello", NONE)
    expect(response.status >= 400, f"expected a refusal, got {response.status}", response)
    expect_offset(tus, url, 0, "after a PATCH without Tus-Resumable")
    created = tus.post(fields={"Upload-Length": "5", **NONE})
    expect(created.status >= 400, f"expected a refusal, got {created.status}", created)


@check("CORE-VER-06")
def options_ignores_the_version(tus: Target) -> None:
    """OPTIONS with any Tus-Resumable is 200 or 204."""
    expect_status(tus.options(fields={"Tus-Resumable": "9.9.9"}), 200, 204)


@check("CORE-VER-07")
def versions_are_a_comma_list(tus: Target) -> None:
    """Tus-Version is a comma list of versions."""
    response = tus.options()
    value = ",".join(response.all("Tus-Version"))
    expect(VERSIONS.fullmatch(value), f"expected a list of versions, got {value!r}", response)
    expect("1.0.0" in response.listed("Tus-Version"), "expected 1.0.0 in Tus-Version", response)
