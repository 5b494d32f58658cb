"""Which files are accepted, by what is said of them and by their first bytes."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth import files
from tusserver.body import BodyEnd
from tusserver.caller import ANYONE, Caller
from tusserver.engine.kinds import FIRST, Kinds, PeekedBody
from tusserver.errors import TypeRefused


def metadata(**values: str) -> str:
    pairs = (f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items())
    return ",".join(pairs)


def says_yes(kinds: Kinds, told: str, beginning: bytes | None = None, caller=ANYONE) -> bool:
    try:
        if beginning is None:
            kinds.check_metadata(told, caller)
        else:
            kinds.check_beginning(beginning, told, caller)
    except TypeRefused:
        return False
    return True


# --- what is said -------------------------------------------------------------------------

TOLD = {
    "a type of the list": (metadata(filetype="image/png"), True),
    "in capitals, with a parameter": (metadata(filetype="Image/PNG; q=1"), True),
    "under another key": (metadata(contentType="application/pdf"), True),
    "the first key counts": (metadata(type="text/html", contentType="image/png"), False),
    "another type": (metadata(filetype="text/html"), False),
    "one that only begins so": (metadata(filetype="imagery/png"), False),
    "a whole range": (metadata(filetype="image"), False),
    "bytes that are no text": ("filetype /w==", False),
    "nothing": ("", False),
}


@pytest.mark.parametrize(("told", "good"), TOLD.values(), ids=TOLD)
def test_the_type_that_metadata_names_must_be_allowed(told, good):
    assert says_yes(Kinds(types=("image/*", "application/pdf")), told) is good


def test_a_type_that_is_not_told_is_left_to_the_content_where_that_is_looked_at():
    kinds = Kinds(types=("image/*",), looks_inside=True)
    assert says_yes(kinds, "")
    assert not says_yes(kinds, metadata(filetype="text/html"))


NAMES = {
    "a.jpg": True,
    "A.JPG": True,
    "a.tar.gz": True,
    "a.gz": False,
    "jpg": False,
    "a.jpg.exe": False,
    "a.jpg ": False,
    "a.jpg\0": False,
    ".jpg": True,
    "": False,
}


@pytest.mark.parametrize(("name", "good"), NAMES.items(), ids=[repr(name) for name in NAMES])
def test_the_name_of_a_file_must_end_as_allowed(name, good):
    kinds = Kinds(suffixes=("jpg", "tar.gz"))
    assert says_yes(kinds, metadata(filename=name)) is good
    assert says_yes(kinds, metadata(name=name)) is good


def test_without_rules_everything_is_accepted():
    assert says_yes(Kinds(), "")
    assert says_yes(Kinds(), metadata(filetype="x/y"), files.EXE)


def test_a_caller_may_narrow_the_types_but_not_widen_them():
    kinds = Kinds(types=("image/*",), looks_inside=True)
    narrow = Caller(types=("image/png", "text/html"))
    assert says_yes(kinds, metadata(filetype="image/png"), caller=narrow)
    assert not says_yes(kinds, metadata(filetype="image/gif"), caller=narrow)
    assert not says_yes(kinds, metadata(filetype="text/html"), caller=narrow)
    assert says_yes(kinds, "", files.PNG, narrow)
    assert not says_yes(kinds, "", files.GIF, narrow)
    assert not says_yes(kinds, "", files.HTML, narrow)


# --- what is inside -----------------------------------------------------------------------

CSV = metadata(filetype="text/csv")
INSIDE = {
    "png": ("image/*", files.PNG, "", True),
    "jpeg": ("image/*", files.JPEG, "", True),
    "jpeg by another name": ("image/jpg", files.JPEG, "", True),
    "gif": ("image/*", files.GIF, "", True),
    "webp": ("image/webp", files.WEBP, "", True),
    "heic": ("image/heic", files.HEIC, "", True),
    "heic as heif": ("image/heif", files.HEIC, "", True),
    "avif": ("image/*", files.AVIF, "", True),
    "bmp": ("image/bmp", files.BMP, "", True),
    "tiff": ("image/*", files.TIFF, "", True),
    "mp4": ("video/mp4", files.MP4, "", True),
    "webm": ("video/*", files.WEBM, "", True),
    "mp3": ("audio/*", files.MP3, "", True),
    "wav": ("audio/wav", files.WAV, "", True),
    "ogg": ("audio/*", files.OGG, "", True),
    "pdf": ("application/pdf", files.PDF, "", True),
    "zip": ("application/zip", files.ZIP, "", True),
    "docx": (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        files.DOCX,
        "",
        True,
    ),
    "gzip": ("application/gzip", files.GZIP, "", True),
    "tar": ("application/x-tar", files.TAR, "", True),
    "svg as a picture": ("image/*", files.SVG, metadata(filetype="image/svg+xml"), True),
    "svg in xml by its name": (
        "image/svg+xml",
        files.XML_SVG,
        metadata(filetype="image/svg+xml"),
        True,
    ),
    "svg in xml as a picture": (
        "image/*",
        files.XML_SVG,
        metadata(filetype="image/svg+xml"),
        False,
    ),
    "a pdf among pictures": ("image/*", files.PDF, metadata(filetype="image/png"), False),
    "a png among pdfs": ("application/pdf", files.PNG, "", False),
    "a program as a picture": ("image/*", files.EXE, metadata(filetype="image/png"), False),
    "a program for linux as a picture": (
        "image/*",
        files.ELF,
        metadata(filetype="image/png"),
        False,
    ),
    "a page as a picture": ("image/*", files.HTML, metadata(filetype="image/png"), False),
    "a page as a table": ("text/csv", files.HTML, CSV, False),
    "a script as a picture": ("image/*", files.SCRIPT, metadata(filetype="image/png"), False),
    "a zip as a picture": ("image/*", files.ZIP, metadata(filetype="image/png"), False),
    "zeros as a picture": ("image/*", files.ZEROS, metadata(filetype="image/png"), False),
    "noise as a picture": ("image/*", files.NOISE, metadata(filetype="image/png"), False),
    "nothing as a picture": ("image/*", b"", metadata(filetype="image/png"), False),
    "text as a picture": ("image/*", b"BM is no picture\n", metadata(filetype="image/bmp"), False),
    "a table": ("text/csv", files.CSV, CSV, True),
    "a table that begins as a bitmap": ("text/csv", files.BM_CSV, CSV, True),
    "a table by its ending": ("text/csv", files.CSV, metadata(filename="a.csv"), True),
    "a table among all texts": ("text/*", files.CSV, CSV, True),
    "a table, by name something else": ("text/csv", files.CSV, metadata(filetype="text/x"), False),
    "text of no name among plain texts": ("text/plain", files.CSV, "", True),
    "json": ("application/json", files.JSON, metadata(filetype="application/json"), True),
    "an empty text": ("text/*", b"", metadata(filetype="text/plain"), True),
    "text of no name among all texts": ("text/*", files.CSV, "", True),
    "noise as text": ("text/*", files.NOISE, CSV, False),
    "a program as text": ("text/*", files.EXE, CSV, False),
    "text in utf-16": ("text/*", b"\xff\xfe" + "Grüße".encode("utf-16-le"), CSV, True),
    "noise among all": ("*/*", files.NOISE, "", True),
    "a program among all": ("*/*", files.EXE, "", True),
    "noise among bytes": ("application/octet-stream", files.NOISE, "", True),
    "text among bytes": ("application/octet-stream", files.CSV, "", True),
    "a picture among bytes": ("application/octet-stream", files.PNG, "", False),
}


@pytest.mark.parametrize(("allowed", "beginning", "told", "good"), INSIDE.values(), ids=INSIDE)
def test_the_first_bytes_must_be_of_an_allowed_kind(allowed, beginning, told, good):
    kinds = Kinds(types=(allowed,), looks_inside=True)
    assert says_yes(kinds, told, beginning) is good


@given(beginning=st.binary(max_size=600), told=st.sampled_from(["", CSV, "filename YQ=="]))
def test_no_bytes_break_the_look_at_them(beginning, told):
    for allowed in ("image/*", "text/*", "*/*"):
        says_yes(Kinds(types=(allowed,), looks_inside=True), told, beginning)


def test_text_that_is_cut_within_a_character_is_text():
    kinds = Kinds(types=("text/csv",), looks_inside=True)
    text = ("ä" * FIRST).encode()
    assert says_yes(kinds, CSV, (b"x" + text)[:FIRST])
    assert not says_yes(kinds, CSV, b"ab\xc3")  # the whole file: then it is no text


# --- looking before reading ---------------------------------------------------------------


class Pieces:
    """A body that gives pieces."""

    length = None
    last_byte_at = 1.0

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.end: BodyEnd | None = None

    async def read(self) -> bytes:
        if self.end is None and self._pieces:
            return self._pieces.pop(0)
        self.end = self.end or BodyEnd.COMPLETE
        return b""

    def stop(self, why: BodyEnd) -> None:
        self.end = self.end or why

    def trailer(self, name: str) -> str | None:
        return name


async def everything(body: PeekedBody) -> bytes:
    read = b""
    while data := await body.read():
        read += data
    return read


async def test_a_body_is_whole_after_a_look_at_it():
    body = PeekedBody(Pieces(b"ab", b"cd", b"ef"))
    assert await body.peek(3) == b"abc"
    assert await body.peek(1) == b"a"
    assert body.end is None
    assert await everything(body) == b"abcdef"
    assert body.end is BodyEnd.COMPLETE
    assert body.trailer("x") == "x"


async def test_a_short_body_has_not_ended_before_it_is_read():
    body = PeekedBody(Pieces(b"ab"))
    assert await body.peek(10) == b"ab"
    assert body.end is None
    assert body.trailer("x") is None
    assert await everything(body) == b"ab"
    assert body.end is BodyEnd.COMPLETE


@pytest.mark.parametrize("why", BodyEnd)
async def test_only_what_a_lost_client_sent_is_delivered_after_a_stop(why):
    body = PeekedBody(Pieces(b"ab", b"cd"))
    await body.peek(1)
    body.stop(why)
    assert await everything(body) == (b"ab" if why is BodyEnd.DISCONNECTED else b"")
    assert body.end is why
