"""Bearer tokens: which ones prove whom, and what the others are told."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.credentials import EC, ED, OTHER, RSA, SECRET, access, bearing, pem, token
from tusserver.auth.jwks import FixedKey, VerifyingKey, secret_key
from tusserver.auth.jwt import REMEMBERED, JwtAuthorizer
from tusserver.caller import Caller
from tusserver.errors import Forbidden, Unauthenticated
from tusserver.gates import Action

NOW = int(time.time())


def authorizer(**options) -> JwtAuthorizer:
    return JwtAuthorizer(FixedKey(secret_key(SECRET, frozenset())), **options)


async def refusal(text: str, **options) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await authorizer(**options).authorize(bearing(text))
    return caught.value


def encoded(part: object) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned(algorithm: str) -> str:
    claims = {"sub": "alice", "exp": NOW + 3600}
    return f"{encoded({'alg': algorithm})}.{encoded(claims)}."


GOOD = {
    "plain": ({}, Caller(owner="alice")),
    "with a size": ({"tus_max_size": 10}, Caller(owner="alice", max_size=10)),
    "with no size at all": ({"tus_max_size": 0}, Caller(owner="alice", max_size=0)),
    "with verbs": ({"tus_verbs": ["create", "append"]}, Caller(owner="alice")),
    "with types": ({"tus_types": ["image/*"]}, Caller(owner="alice", types=("image/*",))),
    "not only for us": ({"aud": None, "scope": "x"}, Caller(owner="alice")),
    "valid since now": ({"nbf": NOW, "iat": NOW}, Caller(owner="alice")),
    "of an owner in Chinese": ({"sub": "漢字"}, Caller(owner="漢字")),
    "of the longest owner": ({"sub": "x" * 256}, Caller(owner="x" * 256)),
}


@pytest.mark.parametrize(("claims", "caller"), GOOD.values(), ids=GOOD)
async def test_a_good_token_proves_its_bearer(claims, caller):
    assert await authorizer().authorize(bearing(token(**claims))) == caller


BAD = {
    "expired": ({"exp": NOW - 60}, "has expired"),
    "without an end": ({"exp": None}, "lacks the claim exp"),
    "with an end that is no number": ({"exp": "later"}, "malformed"),
    "with an end beyond all times": ({"exp": 10**400}, "claim exp"),
    "with an endless end": ({"exp": float("inf")}, "malformed"),
    "not valid yet": ({"nbf": NOW + 10**6}, "not valid yet"),
    "issued in the future": ({"iat": NOW + 10**6}, "not valid yet"),
    "for another audience": ({"aud": "mail"}, "meant for another service"),
    "without an owner": ({"sub": None}, "lacks the claim sub"),
    "of an empty owner": ({"sub": ""}, "lacks the claim sub"),
    "of too long an owner": ({"sub": "ä" * 129}, "cannot be an owner"),
    "of an owner with a line break": ({"sub": "a\nb"}, "cannot be an owner"),
    "of an owner with half a character": ({"sub": "\ud800"}, "cannot be an owner"),
    "with a size in words": ({"tus_max_size": "10"}, "tus_max_size"),
    "with a size below nothing": ({"tus_max_size": -1}, "tus_max_size"),
    "with a size beyond all": ({"tus_max_size": 2**63}, "tus_max_size"),
    "with a size that is true": ({"tus_max_size": True}, "tus_max_size"),
    "with a broken size": ({"tus_max_size": 1.5}, "tus_max_size"),
    "with verbs in one text": ({"tus_verbs": "create"}, "tus_verbs"),
    "with a verb that there is not": ({"tus_verbs": ["create", "fly"]}, "tus_verbs"),
    "with types in one text": ({"tus_types": "image/*"}, "tus_types"),
    "with no types": ({"tus_types": []}, "tus_types"),
    "with a type that is none": ({"tus_types": ["image"]}, "tus_types"),
}


@pytest.mark.parametrize(("claims", "reason"), BAD.values(), ids=BAD)
async def test_a_bad_token_proves_nothing_and_says_why(claims, reason):
    text = token(**claims)
    error = await refusal(text)
    assert reason in error.message
    assert error.challenge.startswith('Bearer error="invalid_token", error_description="This ')
    assert text not in error.message + error.challenge


FORGED = {
    "of another secret": token(key=OTHER),
    "with its signature cut off": token().rpartition(".")[0] + ".",
    "with claims of its own": ".".join(
        [token().split(".")[0], encoded({"sub": "bob", "exp": NOW + 60}), token().split(".")[2]]
    ),
    "not signed (none)": unsigned("none"),
    "not signed (NONE)": unsigned("NONE"),
    "of a header without an algorithm": f"{encoded({})}.{encoded({})}.x",
    "of a header that is a list": f"{encoded([])}.{encoded({})}.x",
    "of a key name that is a number": f"{encoded({'alg': 'HS256', 'kid': 7})}.{encoded({})}.x",
    "with a critical extension": token(headers={"crit": ["b64"], "b64": False}),
    "of one word": "alice",
    "empty": "",
    "of dots": "...",
    "of bytes that are no text": f"{encoded(bytes([255, 254]))}.{encoded(bytes([255]))}.x",
    "of brackets without an end": f"{encoded(b'[' * 6000)}.x.x",
    "not ASCII": "ä.ö.ü",
    "with half a character": "\udcff.x.x",
    "too long": "x" * 8193,
    # Lenient decoders of base64 leave away what follows the padding: one token, many texts.
    "with a line after it": f"{token()}=\r\nSet-Cookie: a=b",
    "with parameters after it": f"{token()}=&x=1",
    "padded": f"{token()}=",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
async def test_a_forged_or_malformed_token_proves_nothing(text):
    error = await refusal(text)
    assert "invalid_token" in error.challenge
    assert not text or text not in error.message


_PARTS = st.one_of(
    st.text(max_size=40),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "exp"]), inner),
        max_leaves=5,
    ).map(encoded),
    st.sampled_from(token().split(".")),
)


@given(parts=st.lists(_PARTS, max_size=4))
async def test_no_credential_at_all_breaks_the_look_at_it(parts):
    try:
        caller = await authorizer().authorize(bearing(".".join(parts)))
    except Unauthenticated:
        return
    assert caller == Caller(owner="alice")  # put together of a good token's parts


async def test_a_public_key_is_no_shared_secret():
    """The best known attack: HMAC with what the server uses as its public key."""
    for key in (RSA, EC, ED):
        name = {RSA: "RS256", EC: "ES256", ED: "EdDSA"}[key]
        verifying = VerifyingKey(key.public_key(), frozenset({name}))
        proving = JwtAuthorizer(FixedKey(verifying))
        assert (await proving.authorize(bearing(token(key=key, algorithm=name)))).owner == "alice"
        header = encoded({"alg": "HS256", "typ": "JWT"})
        claims = encoded({"sub": "alice", "exp": NOW + 3600})
        signer = jwt.get_algorithm_by_name("HS256")
        signature = signer.sign(f"{header}.{claims}".encode(), pem(key))
        with pytest.raises(Unauthenticated):
            await proving.authorize(bearing(f"{header}.{claims}.{encoded(signature)}"))


async def test_clocks_may_differ_a_little():
    now = int(time.time())
    late, early = token(exp=now - 5), token(nbf=now + 8, iat=now + 8)
    for text in (late, early):
        assert (await authorizer(leeway=20.0).authorize(bearing(text))).owner == "alice"
        await refusal(text)


async def test_issuer_and_audience_must_be_those_of_the_settings():
    options = {"issuer": "https://id.example.org", "audience": "uploads"}
    good = {"iss": options["issuer"], "aud": ["mail", "uploads"]}
    caller = await authorizer(**options).authorize(bearing(token(**good)))
    assert caller.owner == "alice"
    for wrong, reason in (
        ({"iss": None}, "lacks the claim iss"),
        ({"iss": "https://evil.example.org"}, "issuer"),
        ({"aud": None}, "lacks the claim aud"),
        ({"aud": "mail"}, "another service"),
    ):
        assert reason in (await refusal(token(**(good | wrong)), **options)).message


async def test_another_claim_may_name_the_owner():
    text = token(sub="4711", preferred_username="bob")
    proving = authorizer(owner_claim="preferred_username")
    assert (await proving.authorize(bearing(text))).owner == "bob"
    assert (
        "preferred_username" in (await refusal(token(), owner_claim="preferred_username")).message
    )


@pytest.mark.parametrize("action", Action)
async def test_a_token_that_names_verbs_allows_only_these(action):
    proving = authorizer()
    allowed = bearing(token(tus_verbs=["create"]), action)
    if action in {Action.CREATE, Action.JOIN}:
        assert (await proving.authorize(allowed)).owner == "alice"
    else:
        with pytest.raises(Forbidden, match=action.value):
            await proving.authorize(allowed)


async def test_only_one_bearer_token_is_taken_and_other_schemes_are_left_alone():
    proving = authorizer()
    headers = [("Authorization", f"Bearer {token()}"), ("authorization", f"bearer {token()}")]
    with pytest.raises(Unauthenticated, match="one bearer token"):
        await proving.authorize(access(headers=headers))
    assert proving.carries(access(headers=headers))
    assert not proving.carries(access(headers=[("Authorization", "Basic YTpi")]))
    assert not proving.carries(access())


async def test_what_was_verified_is_remembered_but_not_beyond_its_end():
    now = int(time.time())
    moment = [float(now)]
    proving = authorizer(clock=lambda: moment[0])
    text = token(exp=now + 10)
    assert (await proving.authorize(bearing(text))).owner == "alice"
    [(_, until)] = proving._known.values()
    assert until == now + 10
    proving._keys = FixedKey(secret_key(OTHER, frozenset()))  # That would refuse it now.
    moment[0] += 9.0
    assert (await proving.authorize(bearing(text))).owner == "alice"
    moment[0] += 1.0
    with pytest.raises(Unauthenticated):
        await proving.authorize(bearing(text))


async def test_what_is_remembered_has_a_limit():
    proving = authorizer()
    for number in range(REMEMBERED + 50):
        await proving.authorize(bearing(token(n=number)))
    assert len(proving._known) == REMEMBERED
