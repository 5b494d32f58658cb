"""Names of published files: whatever a client sends, a plain component comes out."""

from __future__ import annotations

import unicodedata
from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.state.uploads import make_upload
from tusserver.protocol.naming import (
    check_template,
    fitting,
    owner_name,
    plain_name,
    published_path,
    split_name,
)

HOSTILE = (
    "..",
    ".",
    "",
    "/",
    "../../etc/passwd",
    "a\0b",
    "CON",
    "con.txt",
    "\u202egpj.exe",
    ".bashrc",
)
texts = st.one_of(st.text(max_size=400), st.sampled_from(HOSTILE))


def named(name, **fields):
    encoded = b64encode(name if isinstance(name, bytes) else name.encode(errors="surrogatepass"))
    return make_upload(metadata=f"filename {encoded.decode()}", **fields)


def assert_is_plain(component):
    assert component not in {"", ".", ".."}
    assert not component.startswith((".", "-", " "))
    assert not set(component) & set('/\\:*?"<>|\0')
    assert len(component.encode()) <= 255
    assert all(unicodedata.category(char)[0] != "C" for char in component)
    assert unicodedata.is_normalized("NFC", component)


@given(texts, texts)
@example("x" * 300 + ".jpeg", "é" * 200)
@example("...", "..")
def test_every_name_and_owner_becomes_plain_components(name, owner):
    upload = named(name, owner=owner)
    for template in ("{year}/{owner}/{name}", "{owner}-{stem}.{extension}", "{id}", "a{name}b"):
        for component in published_path(check_template(template), upload):
            assert_is_plain(component)


OWNERS = (
    ("alice", "alice ", "alice.", "alice..", ".alice", "ALICE\u200d", "al\u200dice", "-alice"),
    ("a/b", "a_b", "a%2Fb", "a\\b"),
    ("", "nobody", "%6Eobody", "."),
    ("con", "_con", "%63on"),
    ("é", "e\u0301", "%C3%A9", "é\u0301"),
    ("가", "\u1100\u1161", "%E1%84%80%E1%85%A1"),
    ("é" * 50, "é" * 51, "é" * 150),
    ("a. b", "a.b", "a..b", "a.%20b"),
    ("x" * 100, "x" * 101, "x" * 300, "x" * 100 + "~", "." * 100, "." * 101),
)


@pytest.mark.parametrize("owners", OWNERS, ids=lambda owners: owners[0][:10])
def test_no_two_owners_share_a_directory(owners):
    paths = [published_path("{owner}/{id}", named("x", owner=owner))[0] for owner in owners]
    assert len(set(paths)) == len(owners)
    for path in paths:
        assert_is_plain(path)


@given(texts, texts)
def test_whatever_they_are_called(one, other):
    paths = [published_path("{owner}", named("x", owner=owner))[0] for owner in (one, other)]
    assert (paths[0] == paths[1]) == (one == other)
    assert_is_plain(paths[0])


def test_usual_owners_stay_as_they_are():
    for owner in ("alice@example.org", "1f0e3dad-9990-8345", "user_7", "Alice+x", "åsa", "山田"):
        assert owner_name(owner) == owner
    assert owner_name("auth0|12") == "auth0%7C12"


@pytest.mark.parametrize(
    "template", ["{stem}-{id}.{extension}", "{name}-{id}", "{owner}{name}{id}"]
)
def test_of_a_long_path_only_the_name_is_shortened(template):
    upload = named("é" * 300 + ".jpeg", owner="x" * 300)
    [component] = published_path(template, upload)
    assert upload.upload_id in component
    assert len(component.encode()) > 240
    assert_is_plain(component)


def test_what_comes_together_when_something_goes_is_one_character():
    assert plain_name("e\u200d\u0301") == "é"


@given(st.binary(max_size=300))
def test_bytes_that_are_no_text_do_too(name):
    assert_is_plain(published_path("{name}", named(name))[-1])


CASES = {
    "an ordinary name": ("film.mp4", "film.mp4"),
    "of another alphabet": ("фильм.mp4", "фильм.mp4"),
    "composed anew": ("Ame\u0301lie.txt", "Amélie.txt"),
    "a path of Windows": (r"C:\Users\me\film.mp4", "film.mp4"),
    "a path": ("/home/me/film.mp4", "film.mp4"),
    "hidden": (".bashrc", "bashrc"),
    "an option": ("-rf", "_rf"),
    "reserved elsewhere": ("nul.txt", "_nul.txt"),
    "turned around": ("\u202egpj.exe", "gpj.exe"),
    "blanks at its ends": ("  film.mp4 . ", "film.mp4"),
    "a wildcard": ("a*?.txt", "a__.txt"),
}


@pytest.mark.parametrize(("given_name", "kept"), CASES.values(), ids=CASES)
def test_a_name_is_kept_as_far_as_it_is_harmless(given_name, kept):
    assert published_path("{name}", named(given_name)) == (kept,)


def test_without_a_name_there_is_the_id():
    upload = make_upload(metadata="")
    assert published_path("{name}", upload) == (upload.upload_id,)
    assert published_path("{stem}.{extension}", upload) == (f"{upload.upload_id}.bin",)


def test_the_date_is_that_of_the_creation_and_nobody_owns_what_is_nobodys():
    upload = named("film.mp4")
    when = upload.created_at
    assert published_path("{year}/{month}/{day}/{owner}/{name}", upload) == (
        f"{when:%Y}", f"{when:%m}", f"{when:%d}", "nobody", "film.mp4",
    )  # fmt: skip


def test_a_long_name_keeps_its_extension_and_whole_characters():
    [name] = published_path("{name}", named("é" * 300 + ".jpeg"))
    assert name.endswith("é.jpeg")
    assert 250 < len(name.encode()) <= 255
    numbered = str(fitting(split_name(name), tail=" (12)"))
    assert numbered.endswith("é (12).jpeg")
    assert len(numbered.encode()) <= 255


def test_what_cannot_be_kept_leaves_nothing():
    assert plain_name("\0\x1b\u2066") == ""
    assert plain_name(" .. ") == ""


BAD = {
    "{foo}/{id}": "there is no {foo}",
    "{id!r}": "there is no {id}",
    "{id:>3}": "there is no {id}",
    "{}/{id}": "there is no {}",
    "{year}/{month}": "every file would get the same name",
    "/srv/{id}": "must not begin with /",
    "../{id}": "hidden",
    "a//{id}": "empty",
    "{id}/": "empty",
    ".cache/{id}": "hidden",
    "a\n/{id}": "not a plain name",
    "a*/{id}": "not a plain name",
    "{id": "not a template",
    "/".join(["{id}"] * 20): "more than 16",
}


@pytest.mark.parametrize(("template", "reason"), BAD.items(), ids=BAD)
def test_a_template_that_leads_astray_is_refused_in_plain_words(template, reason):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the reason is compared below
        check_template(template)
    assert reason in str(caught.value)
