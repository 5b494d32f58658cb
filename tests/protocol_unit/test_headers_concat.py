"""The grammar of Upload-Concat: which URLs name parts, and what is stored of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.errors import HeaderInvalid, PartNotFound, TusError
from tusserver.protocol.headers import parse_concat
from tusserver.protocol.messages import Part

A = "0123456789abcdef0123456789abcdef"
B = "fedcba9876543210fedcba9876543210"

# Any text, and bytes that are not UTF-8 as lone surrogates.
anything = st.text(st.characters() | st.characters(categories=["Cs"]))


def read_concat(value, *, base_path="/files/", max_parts=4):
    return parse_concat(value, base_path=base_path, max_parts=max_parts)


@pytest.mark.clause("CAT-02")
def test_partial_is_an_upload_without_parts():
    concat = read_concat("partial")
    assert (concat.parts, concat.text) == ((), "partial")


@pytest.mark.clause("CAT-06")
@pytest.mark.parametrize(
    "url",
    [
        f"/files/{A}",
        f"/files/{A}/",
        A,
        f"{A}/",
        f"http://localhost:1080/files/{A}",
        f"HTTPS://Example.org/files/{A}",
        f"https://[::1]:8443/files/{A}",
        f"https://name-the_client.uses/files/{A}/",
        f"/files/%30{A[1:]}",
        f"/%66iles/{A}",
    ],
)
def test_a_part_is_named_by_the_path_of_its_url(url):
    concat = read_concat(f"final;{url}")
    assert concat.parts == (Part(upload_id=A),)
    assert concat.text == f"final;{url}"


@pytest.mark.parametrize("base_path", ["/", "/a/b/", "/my%20files/", "/%7euser/"])
def test_parts_are_found_below_any_base_path(base_path):
    concat = read_concat(f"final;{base_path}{A} http://x{base_path}{B}", base_path=base_path)
    assert [part.upload_id for part in concat.parts] == [A, B]


def test_an_encoded_and_a_plain_base_path_are_the_same():
    assert read_concat(f"final;/~user/{A}", base_path="/%7Euser/").parts[0].upload_id == A
    assert read_concat(f"final;/my%2afiles/{A}", base_path="/my%2Afiles/").parts


@pytest.mark.clause("CAT-03", "CAT-09", "CAT-14")
@pytest.mark.parametrize(
    "listed",
    [f"/files/{B} /files/{A} {B}", f" /files/{B}   http://x/files/{A} /files/{B}/  "],
    ids=["one-space", "several"],
)
def test_parts_keep_their_order_and_repeats_and_the_text_its_spaces(listed):
    concat = read_concat(f"final;{listed}")
    assert [part.upload_id for part in concat.parts] == [B, A, B]
    assert concat.text == f"final;{listed}"


@pytest.mark.clause("CAT-06", "CAT-HEAD-05")
def test_a_query_is_the_credential_of_its_part_and_not_shown():
    concat = read_concat(f"final;/files/{A}?token=x/y?z&u=%2F  http://h/files/{B}? {A}")
    assert [part.query for part in concat.parts] == ["token=x/y?z&u=%2F", "", ""]
    assert concat.text == f"final;/files/{A}  http://h/files/{B} {A}"


@pytest.mark.clause("CAT-14")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "final",
        "final;",
        "final; ",
        f"FINAL;/files/{A}",
        f"final ;/files/{A}",
        f"final,/files/{A}",
        f"finale;/files/{A}",
        "partial;x",
        "partial;",
        "Partial",
    ],
)
def test_anything_but_partial_or_a_list_of_parts_is_refused(value):
    with pytest.raises(HeaderInvalid, match=r"^Upload-Concat: "):
        read_concat(value)


@pytest.mark.clause("CAT-06")
@pytest.mark.parametrize(
    "url",
    [
        f"//files/{A}",
        f"//evil.example/files/{A}",
        f"/files//{A}",
        f"/files/{A}//",
        f"http://h//files/{A}",
        f"/files/../files/{A}",
        f"/files/./{A}",
        "/files/..",
        "/files/%2e%2e",
        "/files/.",
        "..",
        f"/files%2F{A}",
        f"/files/%2F{A}",
        f"/files/{A}%00",
        f"/files/{A}%zz",
        f"/files/{A}%",
        f"/files/%2530{A[1:]}",
        f"\\files\\{A}",
        f"/files/{A}\\",
        f"/files/{A}#part",
        f"/files/{A}?a=\\",
        f"/files/{A}?a#b",
        f"/files/{A}\t/files/{B}",
        f"/files/{A};/files/{B}",
        f"/files/{A},/files/{B}",
        "/files/",
        "/files",
        "/",
        "http://h",
        "http://h/",
        f"http:///files/{A}",
        f"http:/files/{A}",
        f"ftp://h/files/{A}",
        f"file:///files/{A}",
        f"http://user:secret@h/files/{A}",
        f"/other/{A}",
        f"/files/sub/{A}",
        f"files/{A}",
        f"/FILES/{A}",
        f"/files/{A[:-1]}ü",
        f"/files/{A}\udcff",
    ],
)
def test_a_url_that_can_be_no_part_of_ours_is_refused(url):
    with pytest.raises(HeaderInvalid, match=r"^Upload-Concat: a part's URL is not"):
        read_concat(f"final;/files/{B} {url}")


@pytest.mark.clause("CAT-07")
@pytest.mark.parametrize("segment", ["abc", A.upper(), A[:-1], f"{A}0", "a~b_c-d.e", "..."])
def test_a_segment_that_is_no_id_of_ours_names_no_part(segment):
    with pytest.raises(PartNotFound):
        read_concat(f"final;/files/{segment}")


@pytest.mark.clause("CAT-16")
def test_so_many_parts_and_no_more():
    assert len(read_concat("final;" + f" /files/{A}" * 4).parts) == 4
    with pytest.raises(HeaderInvalid, match="must not list more than 4 parts"):
        read_concat("final;" + f" /files/{A}" * 5)


pieces = st.sampled_from(
    ["/", "/files/", A, B, "?", "a=b", " ", "..", "%2F", "%61", "http://", "h", ":80", "\\", "#"]
)


@given(st.lists(pieces, max_size=12).map("".join))
def test_what_was_accepted_names_the_same_parts_again_without_queries(listed):
    try:
        concat = read_concat(f"final;{listed}")
    except (HeaderInvalid, PartNotFound):
        return
    again = read_concat(concat.text)
    assert [part.upload_id for part in again.parts] == [part.upload_id for part in concat.parts]
    assert not any(part.query for part in again.parts)
    assert again.text == concat.text
    assert "?" not in concat.text


@given(anything, st.sampled_from(["", "final;", "final;/files/", f"final;/files/{A} "]))
def test_any_text_is_a_concatenation_or_refused(text, prefix):
    try:
        concat = read_concat(prefix + text)
    except TusError as error:
        error.message.encode("utf-8")
    else:
        concat.text.encode("ascii")
