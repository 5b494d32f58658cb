"""Checks of OPTIONS (tus 1.0.0, Core Protocol, Requests)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.check import NotApplicable, check, expect, expect_field, expect_status

if TYPE_CHECKING:
    from conformance.target import Target

NAME = re.compile(r"[!-+\--~]+")
KNOWN = frozenset(
    {
        "creation",
        "creation-defer-length",
        "creation-with-upload",
        "expiration",
        "checksum",
        "checksum-trailer",
        "termination",
        "concatenation",
        "concatenation-unfinished",
    }
)


@check("CORE-OPT-01")
def options_tells_the_versions(tus: Target) -> None:
    """OPTIONS on the creation URL is 200 or 204 with Tus-Version."""
    response = tus.options()
    expect_status(response, 200, 204)
    expect(response.all("Tus-Version"), "expected Tus-Version", response)


@check("CORE-OPT-07", needs=("creation",))
def options_works_on_an_upload(tus: Target) -> None:
    """OPTIONS on an upload is 200 or 204 with Tus-Version."""
    response = tus.options(tus.create(5))
    expect_status(response, 200, 204)
    expect(response.all("Tus-Version"), "expected Tus-Version", response)


@check("CORE-OPT-02")
def extensions_are_a_comma_list(tus: Target) -> None:
    """Tus-Extension is a comma list of names, without repeats."""
    response = tus.options()
    values = response.all("Tus-Extension")
    if not values:
        raise NotApplicable("no extension is announced")
    items = [item.strip(" \t") for item in ",".join(values).split(",")]
    for item in items:
        expect(NAME.fullmatch(item), f"expected a name in Tus-Extension, got {item!r}", response)
    expect(len(set(items)) == len(items), "expected each extension once", response)


@check("CORE-OPT-02")
def extensions_stand_on_what_they_need(tus: Target) -> None:
    """An extension is announced with the one that it extends, and works in its simplest form."""
    response = tus.options()
    for extension in KNOWN & tus.announced.extensions:
        base = extension.partition("-")[0]
        expect(tus.has(base), f"expected {base} beside {extension} in Tus-Extension", response)
    if not tus.has("creation"):
        return
    expect_status(tus.post(fields={"Upload-Length": "5"}), 201)
    if tus.has("creation-defer-length"):
        expect_status(tus.post(fields={"Upload-Defer-Length": "1"}), 201)
    if tus.has("termination"):
        expect_status(tus.delete(tus.create(5)), 204)
    if tus.has("concatenation"):
        expect_status(tus.post(fields={"Upload-Length": "5", "Upload-Concat": "partial"}), 201)


@check("CORE-OPT-03")
def the_list_of_extensions_is_never_empty(tus: Target) -> None:
    """Tus-Extension is left out rather than empty."""
    response = tus.options()
    for value in response.all("Tus-Extension"):
        expect(value.strip(), "expected no Tus-Extension rather than an empty one", response)


@check("CORE-OPT-04")
def the_largest_size_is_an_integer(tus: Target) -> None:
    """Tus-Max-Size, if it is there, is a non-negative integer."""
    response = tus.options()
    value = response.get("Tus-Max-Size")
    if value is None:
        raise NotApplicable("no Tus-Max-Size is announced")
    expect(
        value.isascii() and value.isdigit(), f"expected digits in Tus-Max-Size: {value!r}", response
    )


@check("CORE-OPT-05")
def algorithms_are_told_with_checksums(tus: Target) -> None:
    """Tus-Checksum-Algorithm is there where checksum is announced."""
    if not tus.has("checksum"):
        raise NotApplicable("checksum is not announced")
    response = tus.options()
    expect(response.listed("Tus-Checksum-Algorithm"), "expected Tus-Checksum-Algorithm", response)


@check("CORE-OPT-06")
def options_needs_no_credentials(tus: Target) -> None:
    """OPTIONS works without the credentials that other requests need."""
    without = dict.fromkeys(tus.settings.headers)
    expect_status(tus.options(fields=without), 200, 204)


@check("CORE-VER-08")
def options_names_no_other_version(tus: Target) -> None:
    """Tus-Resumable in the answer to OPTIONS, if it is there, is 1.0.0."""
    response = tus.options()
    if response.all("Tus-Resumable"):
        expect_field(response, "Tus-Resumable", "1.0.0")
