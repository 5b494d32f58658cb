"""Signed upload URLs: what they say, and which are refused."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.credentials import OTHER, SECRET, access, bearing, token
from tests.test_docs import ROOT, blocks
from tusserver import Action, Forbidden, Unauthenticated, sign_upload_url
from tusserver.auth.chain import Chain
from tusserver.auth.grants import GrantAuthorizer
from tusserver.auth.jwks import FixedKey, secret_key
from tusserver.auth.jwt import JwtAuthorizer
from tusserver.cli import main

BASE = "https://example.org/files/"
GRANTS = GrantAuthorizer([SECRET])


def grant(**claims) -> str:
    """Sign a grant as a backend in any language can, by a JWT library of its own."""
    told = {"aud": "tusserver-upload", "jti": "one", "exp": int(time.time()) + 10**6} | claims
    told = {name: value for name, value in told.items() if value is not None}
    return "/files/?grant=" + jwt.encode(told, SECRET, algorithm="HS256")


async def test_a_signed_url_says_whose_how_large_of_what_kind_and_how_long():
    url = sign_upload_url(
        SECRET, BASE, owner="alice", max_size=10, expires_in=60, types=["image/*"]
    )
    assert url.startswith(f"{BASE}?grant=")
    caller = await GRANTS.authorize(access(uri=url))
    assert (caller.owner, caller.max_size, caller.types) == ("alice", 10, ("image/*",))
    assert time.time() + 55 < caller.grant_ends <= time.time() + 60
    assert caller.credential == urlsplit(url).query


async def test_each_signed_url_is_a_grant_of_its_own_and_stays_it():
    one, other = sign_upload_url(SECRET, BASE), sign_upload_url(SECRET, BASE)
    ids = [(await GRANTS.authorize(access(uri=url))).grant for url in (one, other, one)]
    assert ids[0] == ids[2] != ids[1]
    assert len(ids[0]) == 32


async def test_a_query_that_is_there_already_is_kept():
    url = sign_upload_url(SECRET, f"{BASE}?tenant=7")
    assert parse_qs(urlsplit(url).query)["tenant"] == ["7"]
    assert (await GRANTS.authorize(access(uri=url))).grant


async def test_a_backend_signs_with_any_library_for_tokens():
    caller = await GRANTS.authorize(access(uri=grant(sub="bob", tus_max_size=5)))
    assert (caller.owner, caller.max_size) == ("bob", 5)


async def test_the_first_of_several_secrets_signs_and_all_are_accepted():
    both = f"{OTHER}, {SECRET}"
    assert (await GRANTS.authorize(access(uri=sign_upload_url(SECRET, BASE)))).grant
    with pytest.raises(Unauthenticated):
        await GRANTS.authorize(access(uri=sign_upload_url(both, BASE)))
    rotating = GrantAuthorizer([OTHER, SECRET])
    for url in (sign_upload_url(both, BASE), sign_upload_url(SECRET, BASE)):
        assert (await rotating.authorize(access(uri=url))).grant


BAD = {
    "expired": (grant(exp=1), "has expired"),
    "without an end": (grant(exp=None), "lacks the claim exp"),
    "without an id": (grant(jti=None), "lacks the claim jti"),
    "for another use": (grant(aud="mail"), "another service"),
    "for no use": (grant(aud=None), "lacks the claim aud"),
    "of another secret": (sign_upload_url(OTHER, BASE), "not valid here"),
    "of a size that is none": (grant(tus_max_size="x"), "tus_max_size"),
    "changed": (grant()[:-8] + "AAAAAAAA", "not valid here"),
    "empty": ("/files/?grant=", "not valid here"),
    "too long": ("/files/?grant=" + "x" * 9000, "too long"),
    "with a line after it": (f"{sign_upload_url(SECRET, BASE)}=%0D%0AX:%20y", "not valid here"),
    "with a parameter after it": (f"{sign_upload_url(SECRET, BASE)}=%26x=1", "not valid here"),
    "of no characters": ("/files/?grant=%FF%00", "not valid here"),
}


@pytest.mark.parametrize(("url", "reason"), BAD.values(), ids=BAD)
async def test_a_bad_grant_proves_nothing_and_says_why(url, reason):
    with pytest.raises(Unauthenticated, match=reason) as caught:
        await GRANTS.authorize(access(uri=url))
    assert "eyJ" not in caught.value.message + caught.value.challenge


@given(
    uri=st.one_of(
        st.text(), st.text().map("//[x?grant={}&grant=".format), st.text().map("/?grant=".__add__)
    )
)
async def test_no_url_at_all_breaks_the_look_at_it(uri):
    asked = access(uri=uri)
    if GRANTS.carries(asked):
        with pytest.raises(Unauthenticated):
            await GRANTS.authorize(asked)


async def test_a_query_of_many_parameters_is_not_even_taken_apart():
    url = sign_upload_url(SECRET, BASE)
    assert GRANTS.carries(access(uri=f"{url}&{'a&' * 1000}"))
    start = time.process_time()
    assert not GRANTS.carries(access(uri=f"{url}&{'%41=%41&' * 100_000}"))
    assert time.process_time() - start < 0.02


async def test_two_grants_in_one_url_are_refused():
    url = f"{grant()}&{grant().partition('?')[2]}"
    with pytest.raises(Unauthenticated, match="one grant"):
        await GRANTS.authorize(access(uri=url))


async def test_a_grant_is_no_bearer_token_and_a_token_no_grant_though_the_secret_is_the_same():
    tokens = JwtAuthorizer(FixedKey(secret_key(SECRET, frozenset())))
    with pytest.raises(Unauthenticated):
        await tokens.authorize(bearing(grant(sub="alice").partition("=")[2]))
    with pytest.raises(Unauthenticated):
        await GRANTS.authorize(access(uri=f"/files/?grant={token(jti='x')}"))


async def test_a_grant_may_name_verbs():
    uri = sign_upload_url(SECRET, BASE, verbs=[Action.CREATE, "append"])
    for action in (Action.CREATE, Action.APPEND, Action.JOIN):
        assert (await GRANTS.authorize(access(action, uri=uri))).grant
    for action in (Action.DOWNLOAD, Action.TERMINATE, Action.DESCRIBE):
        with pytest.raises(Forbidden):
            await GRANTS.authorize(access(action, uri=uri))


UNSIGNABLE = {
    "an owner with a line break": {"owner": "a\nb"},
    "a size below nothing": {"max_size": -1},
    "no time": {"expires_in": 0},
    "a type that is none": {"types": ["image"]},
    "a verb that there is not": {"verbs": ["fly"]},
}


@pytest.mark.parametrize("options", UNSIGNABLE.values(), ids=UNSIGNABLE)
def test_what_cannot_be_granted_is_not_signed(options):
    with pytest.raises(ValueError, match=r"."):
        sign_upload_url(SECRET, BASE, **options)


@pytest.mark.parametrize("secret", ["", " , ", "short"])
def test_nothing_is_signed_with_a_secret_that_can_be_guessed(secret):
    with pytest.raises(ValueError, match="secret"):
        sign_upload_url(secret, BASE)


async def test_the_signed_url_of_the_page_about_security_is_accepted():
    [code] = blocks(ROOT / "docs" / "secure.md", "python")
    told: dict[str, str] = {}
    exec(code, told)  # noqa: S102 - the page's own words
    secret = code.partition('"')[2].partition('"')[0]
    caller = await GrantAuthorizer([secret]).authorize(access(uri=told["url"]))
    assert (caller.owner, caller.max_size, caller.types) == ("alice", 100 * 2**20, ("image/*",))


# --- the chain ----------------------------------------------------------------------------

CHAIN = Chain(GRANTS, JwtAuthorizer(FixedKey(secret_key(SECRET, frozenset()))))


async def test_either_credential_proves_and_a_bad_one_does_not_spoil_a_good_one():
    good, bad = [("Authorization", f"Bearer {token()}")], [("Authorization", "Bearer x")]
    assert (await CHAIN.authorize(access(headers=good))).owner == "alice"
    assert (await CHAIN.authorize(access(uri=grant(sub="bob")))).owner == "bob"
    assert (await CHAIN.authorize(access(uri=grant(sub="bob"), headers=good))).owner == "bob"
    assert (await CHAIN.authorize(access(uri=grant(sub="bob"), headers=bad))).owner == "bob"
    assert (await CHAIN.authorize(access(uri=grant(exp=1), headers=good))).owner == "alice"


async def test_without_a_good_credential_the_first_refusal_is_told():
    with pytest.raises(Unauthenticated) as caught:
        await CHAIN.authorize(access())
    assert caught.value.challenge == "Bearer"
    with pytest.raises(Unauthenticated, match="This upload URL has expired"):
        await CHAIN.authorize(access(uri=grant(exp=1), headers=[("Authorization", "Bearer x")]))


# --- the command --------------------------------------------------------------------------


async def test_the_command_prints_a_url_that_is_accepted(capsys, monkeypatch):
    monkeypatch.setenv("TUSSERVER_URL_SECRET", SECRET)
    words = ["sign", "--owner", "alice", "--max-size=2MB", "--expires-in", "5m"]
    assert main([*words, "--url", "https://example.org/up"]) == 0
    [url] = capsys.readouterr().out.splitlines()
    assert url.startswith("https://example.org/up/?grant=")
    caller = await GRANTS.authorize(access(uri=url))
    assert (caller.owner, caller.max_size) == ("alice", 2_000_000)
    assert caller.grant_ends < time.time() + 301


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ([], "http://127.0.0.1:1080/files/?grant="),
        (["--public-url", "https://up.example.org"], "https://up.example.org/files/?grant="),
        (["--host", "::1", "--base-path", "up"], "http://[::1]:1080/up/?grant="),
    ],
)
def test_the_command_knows_the_creation_url_from_the_settings(words, start, capsys, monkeypatch):
    monkeypatch.setenv("TUSSERVER_URL_SECRET", SECRET)
    assert main(["sign", *words]) == 0
    assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--url-secret: is needed to sign"),
        (["--url-secret", "short"], "a secret has at least 32 characters"),
        (["--url-secret", SECRET, "--expires-in", "1y"], "--expires-in=1y: not a time"),
        (["--url-secret", SECRET, "--expires-in", "0"], "must be longer than 0"),
        (["--url-secret", SECRET, "--url", "example.org"], "--url=example.org: not a URL"),
        (["--url-secret", SECRET, "--owner", "a\nb"], "--owner: not an owner"),
    ],
)
def test_the_command_says_what_is_wrong_without_the_secret(words, message, capsys):
    assert main(["sign", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert "short" not in told
    assert SECRET not in told
