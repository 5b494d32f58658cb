"""The grammar of what proxies say, and whose word counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.web.forwarded import (
    FIELDS,
    MAX_HOPS,
    ForwardedError,
    Forwarding,
    TrustedProxies,
    host_with_port,
    parse_forwarded,
    parse_node,
    read_forwarding,
)

TRUSTED = TrustedProxies(["10.0.0.0/8", "fd00::/8", "unix"])


def read(*fields: tuple[str, str]) -> Forwarding:
    return read_forwarding(lambda name: [value for key, value in fields if key == name], TRUSTED)


ELEMENTS = {
    # RFC 7239 section 4, and its examples.
    'for="_gazonk"': [{"for": "_gazonk"}],
    'For="[2001:db8:cafe::17]:4711"': [{"for": "[2001:db8:cafe::17]:4711"}],
    "for=192.0.2.60;proto=http;by=203.0.113.43": [
        {"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}
    ],
    "for=192.0.2.43, for=198.51.100.17": [{"for": "192.0.2.43"}, {"for": "198.51.100.17"}],
    "for=1.2.3.4; proto=https ;host=a.example": [
        {"for": "1.2.3.4", "proto": "https", "host": "a.example"}
    ],
    'host="a\\"b, c;d"': [{"host": 'a"b, c;d'}],
    ", ,for=1.2.3.4,, ;": [{"for": "1.2.3.4"}],
    'ext="";for=unknown': [{"ext": "", "for": "unknown"}],
    "": [],
}


@pytest.mark.parametrize(("text", "elements"), ELEMENTS.items(), ids=ELEMENTS)
def test_forwarded_is_read(text, elements):
    assert parse_forwarded(text) == elements


@pytest.mark.parametrize(
    "text",
    ["for", "for=", "for =1.2.3.4", "for= 1.2.3.4", 'for="1.2.3.4', "for=[::1]", "for=1.2.3.4:80",
     "for=1.2.3.4;for=1.2.3.4", "for=1.2.3.4 proto=https", '"for"=1.2.3.4', "for=a\0b",
     'for="a"b', "=x"],
)  # fmt: skip
def test_malformed_forwarded_is_refused(text):
    with pytest.raises(ForwardedError, match="Forwarded"):
        parse_forwarded(text)


NODES = {
    "192.0.2.1": "192.0.2.1",
    "192.0.2.1:80": "192.0.2.1",
    "192.0.2.1:_port": "192.0.2.1",
    "[2001:DB8::0001]": "2001:db8::1",
    "[2001:db8::1]:443": "2001:db8::1",
    "2001:db8::1": "2001:db8::1",
    "::ffff:192.0.2.1": "192.0.2.1",
    "[::ffff:192.0.2.1]:80": "192.0.2.1",
    "unknown": "unknown",
    "_hidden": "_hidden",
    "_SEVKISEK:123": "_SEVKISEK",
    "": None,
    "example.org": None,
    "192.0.2.256": None,
    "192.0.2.1:123456": None,
    "[192.0.2.1]": None,
    "[::1": None,
    "[::g]": None,
    "_": None,
}


@pytest.mark.parametrize(("text", "node"), NODES.items(), ids=NODES)
def test_who_sent_a_request_is_read(text, node):
    assert parse_node(text) == node


CHAINS = {
    "one proxy": ((("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")),
                  ("192.0.2.1", "https", None)),
    "two proxies, two values each": (
        (("X-Forwarded-For", "192.0.2.1, 10.0.0.1"), ("X-Forwarded-Proto", "https,http"),
         ("X-Forwarded-Host", "a.example, b.internal")),
        ("192.0.2.1", "https", "a.example")),
    "two proxies, the inner one hands the scheme on": (
        (("X-Forwarded-For", "192.0.2.1, 10.0.0.1"), ("X-Forwarded-Proto", "https")),
        ("192.0.2.1", "https", None)),
    "lists over several lines": (
        (("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "10.0.0.1"),
         ("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")),
        ("192.0.2.1", "https", None)),
    "a client that invents": (
        (("X-Forwarded-For", "1.1.1.1, junk!, 192.0.2.1"), ("X-Forwarded-Proto", "https, http")),
        ("192.0.2.1", "http", None)),
    "a client that calls itself a proxy of ours": (
        (("X-Forwarded-For", "10.9.9.9, 192.0.2.1"),), ("192.0.2.1", None, None)),
    "only proxies of ours": ((("X-Forwarded-For", "10.0.0.2, 10.0.0.1"),),
                             ("10.0.0.2", None, None)),
    "only a scheme": ((("X-Forwarded-Proto", "HTTPS"),), (None, "https", None)),
    "a port beside a host": (
        (("X-Forwarded-Host", "a.example"), ("X-Forwarded-Port", "8443"),
         ("X-Forwarded-Proto", "https")), (None, "https", "a.example:8443")),
    "the usual port beside a host": (
        (("X-Forwarded-Host", "a.example"), ("X-Forwarded-Port", "443"),
         ("X-Forwarded-Proto", "https")), (None, "https", "a.example")),
    "a host that has a port": (
        (("X-Forwarded-Host", "[2001:db8::1]:8443"), ("X-Forwarded-Port", "443")),
        (None, None, "[2001:db8::1]:8443")),
    "an address with its port": ((("X-Forwarded-For", "192.0.2.1:5000"),),
                                 ("192.0.2.1", None, None)),
    "somebody who will not be named": ((("X-Forwarded-For", "192.0.2.1, unknown"),),
                                       ("unknown", None, None)),
    "the standard": (
        (("Forwarded", 'for=192.0.2.1;proto=https;host="a.example:8443", for="[fd00::1]"'),),
        ("192.0.2.1", "https", "a.example:8443")),
    "the standard, over several lines": (
        (("Forwarded", "for=192.0.2.1;proto=https;host=a.example"),
         ("Forwarded", "for=10.0.0.1;proto=http;host=b.internal")),
        ("192.0.2.1", "https", "a.example")),
    "the standard, and an inner proxy that knows more": (
        (("Forwarded", "for=192.0.2.1, for=10.0.0.1;proto=https"),),
        ("192.0.2.1", "https", None)),
    "the standard, with a client that invents": (
        (("Forwarded", "for=1.1.1.1;proto=https;host=evil.example, for=192.0.2.1"),),
        ("192.0.2.1", None, None)),
    "the standard, from a proxy that does not say for whom": (
        (("Forwarded", "for=1.1.1.1;proto=http, proto=https"),), (None, "https", None)),
    "both, and they agree": (
        (("Forwarded", "for=192.0.2.1;proto=https"), ("X-Forwarded-For", "192.0.2.1"),
         ("X-Forwarded-Proto", "https")), ("192.0.2.1", "https", None)),
    "nothing": ((), (None, None, None)),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), CHAINS.values(), ids=CHAINS)
def test_what_the_outermost_trusted_proxy_saw_is_believed(fields, expected):
    found = read(*fields)
    assert (found.client, found.scheme, found.host) == expected


def test_a_port_alone_is_kept_for_the_host_of_the_request():
    found = read(("X-Forwarded-Port", "8443"), ("X-Forwarded-Proto", "https"))
    assert (found.host, found.port) == (None, "8443")
    assert host_with_port("a.example:1080", "8443", "https") == "a.example:8443"
    assert host_with_port("a.example:1080", "443", "https") == "a.example"


FAULTS = {
    "an address that is none": (("X-Forwarded-For", "192.0.2.1, junk!"),),
    "a name, where our proxy sent it": (("X-Forwarded-For", "example.org"),),
    "another scheme": (("X-Forwarded-Proto", "gopher"),),
    "a host with a path": (("X-Forwarded-Host", "a.example/x"),),
    "a host with somebody's name": (("X-Forwarded-Host", "me@a.example"),),
    "a port too high": (("X-Forwarded-Port", "65536"),),
    "a port in other digits": (("X-Forwarded-Port", "٤٤٣"),),
    "a port with a sign": (("X-Forwarded-Port", "+443"),),
    "both, and they contradict": (("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "192.0.2.1")),
    "both, and one adds a host": (
        ("Forwarded", "for=192.0.2.1;host=evil.example"), ("X-Forwarded-For", "192.0.2.1")),
    "megabytes": (("X-Forwarded-For", "10.0.0.1," * 100_000),),
}  # fmt: skip


@pytest.mark.parametrize("fields", FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_meant_is_refused_and_named(fields):
    with pytest.raises(ForwardedError, match=fields[0][0]):
        read(*fields)


def test_a_chain_is_not_followed_for_ever():
    found = read(("X-Forwarded-For", ",".join(["192.0.2.1", *["10.0.0.1"] * MAX_HOPS])))
    assert found.client == "10.0.0.1"


TRUST = {
    "10.1.2.3": True,
    "::ffff:10.1.2.3": True,
    "fd00::5": True,
    "unix": True,
    "fd00::5%eth0": True,
    "11.0.0.1": False,
    "::1": False,
    "unknown": False,
    "": False,
}


@pytest.mark.parametrize(("peer", "trusted"), TRUST.items(), ids=TRUST)
def test_a_peer_is_trusted_by_its_network(peer, trusted):
    assert TRUSTED.trusts(peer) is trusted


def test_a_unix_socket_is_trusted_only_by_its_name():
    assert not TrustedProxies(["0.0.0.0/0", "::/0"]).trusts("unix")
    assert not TrustedProxies()


quoted = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
token = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", fullmatch=True)


@given(st.lists(st.dictionaries(token.map(str.lower), quoted, min_size=1), max_size=4))
def test_what_is_written_by_the_grammar_is_read_back(elements):
    def write(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(
        ";".join(f"{name}={write(value)}" for name, value in element.items())
        for element in elements
    )
    assert parse_forwarded(text) == elements


@given(st.text(), st.sampled_from(FIELDS))
def test_whatever_comes_is_read_or_refused(text, name):
    try:
        found = read((name, text))
    except ForwardedError:
        return
    assert found.scheme in {None, "http", "https"}


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=12), max_size=5))
def test_what_the_client_wrote_never_changes_who_it_is(invented):
    chain = ",".join([*invented, "192.0.2.77", "10.0.0.1"])
    assert read(("X-Forwarded-For", chain)).client == "192.0.2.77"
