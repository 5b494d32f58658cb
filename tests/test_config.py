"""The settings: their layers, their checks, and what an operator reads when one is wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusserver.config import Settings, flag_of, flag_parser, load_settings, variable_of
from tusserver.errors import ConfigError
from tusserver.options import Ingest
from tusserver.upload import MAX_INTEGER, Durability, Limits
from tusserver.values import format_size, format_time, hide_password, parse_size, parse_time

NAMES = list(Settings.model_fields)


def fault(argv=(), environ=None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(list(argv), environ or {})
    assert caught.value.__cause__ is None
    return caught.value.message


def outcome(argv) -> str:
    """Give what can be seen of the settings, or of the fault."""
    try:
        settings = load_settings(argv, {})
    except ConfigError as error:
        return str(error)
    return f"{settings!r} {settings.state_shown}"


# --- layers -------------------------------------------------------------------------------


def test_without_flags_and_variables_everything_has_its_default():
    settings = load_settings([], {"HOME": "/home/somebody"})
    assert settings == Settings()
    assert settings.host == "127.0.0.1"
    assert settings.port == 1080
    assert settings.base_path == "/files/"
    assert settings.upload_dir == Path("uploads")
    assert settings.state == "local"
    assert settings.durability is Durability.NORMAL
    assert settings.max_size is None
    assert settings.download is True
    assert settings.cors_origins == ("*",)


def test_a_variable_wins_over_a_default_and_a_flag_over_a_variable():
    environ = {"TUSSERVER_PORT": "2000", "TUSSERVER_MAX_SIZE": "1MB", "TUSSERVER_DOWNLOAD": "true"}
    settings = load_settings(["--port", "3000", "--no-download"], environ)
    assert (settings.port, settings.max_size, settings.download) == (3000, 1_000_000, False)


def test_a_wrong_variable_under_a_right_flag_does_no_harm():
    assert load_settings(["--port=1"], {"TUSSERVER_PORT": "many"}).port == 1


def test_settings_made_by_hand_do_not_read_the_environment(monkeypatch):
    monkeypatch.setenv("TUSSERVER_PORT", "2000")
    assert Settings().port == 1080


def test_the_process_environment_is_not_read_when_another_is_given(monkeypatch):
    monkeypatch.setenv("TUSSERVER_PORT", "2000")
    assert load_settings([], {}).port == 1080


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_flag_with_help(name):
    text = flag_parser().format_help()
    assert flag_of(name) in text
    assert Settings.model_fields[name].description


HOOK_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"  # noqa: S105 - guards nothing
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - guards nothing
GOOD = {
    "host": ("::", "::"),
    "port": ("0", 0),
    "base_path": ("up", "/up/"),
    "unix_socket": ("/run/tusserver/http", Path("/run/tusserver/http")),
    "unix_socket_mode": ("666", 0o666),
    "tls_certificate": ("/etc/tls.pem", Path("/etc/tls.pem")),
    "tls_key": ("/etc/tls.key", Path("/etc/tls.key")),
    "workers": ("4", 4),
    "head_timeout": ("10s", 10.0),
    "keepalive_timeout": ("2m", 120.0),
    "send_timeout": ("30s", 30.0),
    "max_connections": ("500", 500),
    "page": ("off", False),
    "page_chunk_size": ("8MiB", 8 * 2**20),
    "page_parallel_from": ("none", None),
    "public_url": ("https://example.org", "https://example.org/files/"),
    "trusted_proxies": ("10.0.0.0/8, unix", ("10.0.0.0/8", "unix")),
    "upload_dir": ("/srv/up", Path("/srv/up")),
    "state": ("redis://localhost:6379/1", "redis://localhost:6379/1"),
    "durability": ("strict", Durability.STRICT),
    "ingest": ("portable", Ingest.PORTABLE),
    "reserve": ("0", 0),
    "max_size": ("10GiB", 10 * 2**30),
    "expire_after": ("24h", 86_400.0),
    "expire_finished": ("90m", 5400.0),
    "sweep_interval": ("500ms", 0.5),
    "sweep_grace": ("0", 0.0),
    "body_timeout": ("30s", 30.0),
    "shutdown_timeout": ("0", 0.0),
    "download": ("off", False),
    "loop_writes": ("off", False),
    "cache_control": ("no-store", "no-store"),
    "disable": ("checksum, termination", ("checksum", "termination")),
    "cors_origins": ("https://a.org,https://*.b.org", ("https://a.org", "https://*.b.org")),
    "cors_credentials": ("0", False),
    "cors_headers": ("X-Token,X-Tenant", ("X-Token", "X-Tenant")),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "access_log": ("off", False),
    "metrics": ("off", False),
    "metrics_networks": ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1/128")),
    "jwt_secret": (SECRET, SECRET),
    "jwt_public_key": ("/etc/key.pem", Path("/etc/key.pem")),
    "jwt_jwks": ("/etc/keys.json", Path("/etc/keys.json")),
    "jwt_algorithms": ("HS256,ES256", ("HS256", "ES256")),
    "jwt_issuer": ("https://id.example.org/", "https://id.example.org/"),
    "jwt_audience": ("uploads", "uploads"),
    "jwt_leeway": ("1m", 60.0),
    "jwt_owner_claim": ("preferred_username", "preferred_username"),
    "url_secret": (f"{SECRET},{SECRET[::-1]}", f"{SECRET},{SECRET[::-1]}"),
    "allowed_types": ("image/*, Application/PDF", ("image/*", "application/pdf")),
    "allowed_extensions": (".JPG,*.tar.gz", ("jpg", "tar.gz")),
    "check_content": ("off", False),
    "max_stored": ("1TiB", 2**40),
    "max_unwritten": ("0", None),
    "max_open": ("none", None),
    "max_creations": ("60", 60),
    "max_appends": ("100", 100),
    "max_bandwidth": ("10MiB", 10 * 2**20),
    "owner_max_stored": ("10GiB", 10 * 2**30),
    "owner_max_unwritten": ("1GiB", 2**30),
    "owner_max_open": ("10", 10),
    "owner_max_creations": ("none", None),
    "owner_max_appends": ("4", 4),
    "owner_max_bandwidth": ("1MB", 10**6),
    "webhook_url": ("https://a.org/hook,http://b:8/h", "https://a.org/hook,http://b:8/h"),
    "webhook_events": ("post-finish, pre-create", ("post-finish", "pre-create")),
    "webhook_secret": (HOOK_SECRET, HOOK_SECRET),
    "webhook_forward_headers": ("X-User,Cookie", ("X-User", "Cookie")),
    "webhook_timeout": ("5s", 5.0),
    "webhook_retry": ("0", 0),
    "webhook_progress_interval": ("10s", 10.0),
    "webhook_give_up": ("1d", 86_400.0),
    "publish": ("{year}/{name}", "{year}/{name}"),
    "publish_dir": ("/srv/films", Path("/srv/films")),
    "publish_collision": ("id", "id"),
    "publish_mode": ("644", 0o644),
    "digest": ("sha-512", "sha-512"),
    "digest_metadata": ("md5, x.sum", ("md5", "x.sum")),
}


KEY = {"TUSSERVER_JWT_SECRET": SECRET}
BESIDE = {
    "publish": {"TUSSERVER_PUBLISH_DIR": "/srv/films"},
    "jwt_algorithms": KEY,
    "jwt_issuer": KEY,
    "jwt_audience": KEY,
    "tls_certificate": {"TUSSERVER_TLS_KEY": "/etc/tls.key"},
    "tls_key": {"TUSSERVER_TLS_CERTIFICATE": "/etc/tls.pem"},
}
"""What some settings make no sense without."""


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_read_from_its_variable(name):
    text, value = GOOD[name]
    environ = BESIDE.get(name, {}) | {variable_of(name): text}
    assert getattr(load_settings([], environ), name) == value


@pytest.mark.parametrize("name", [name for name in NAMES if GOOD[name][1] is not False])
def test_every_setting_is_read_from_its_flag(name):
    text, value = GOOD[name]
    environ = BESIDE.get(name, {})
    assert getattr(load_settings([f"{flag_of(name)}={text}"], environ), name) == value
    assert getattr(load_settings([flag_of(name), text], environ), name) == value


def test_an_unknown_variable_is_logged_with_the_nearest_known_one(caplog):
    environ = {"TUSSERVER_MAXSIZE": "1", "TUSSERVER_BOOT_ID_FILE": "/x", "OTHER_PROT": "1"}
    with caplog.at_level(logging.WARNING):
        load_settings([], environ)
    [line] = caplog.messages
    assert line == "TUSSERVER_MAXSIZE means nothing here; the nearest is TUSSERVER_MAX_SIZE"


# --- what is wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--max-size=10GX"], "--max-size=10GX: not a size: write it as 10GiB or 500MB"),
        (["--expire-after", "1y"], "--expire-after=1y: not a time: write it as 500ms, 30s,"),
        (["--expire-after", "30"], "--expire-after=30: not a time"),
        (["--port=65536"], "--port=65536: not a port: write a number from 0 to 65535"),
        (["--port", "-1"], "--port=-1: not a port"),
        (["--port=1_0"], "--port=1_0: not a port"),
        (["--port=\u0663"], "--port=\u0663: not a port"),
        (["--host="], "--host=: not an address"),
        (["--workers=0"], "--workers=0: not such a number: write one from 1 to 64"),
        (["--unix-socket-mode=9"], "--unix-socket-mode=9: not the permissions of a file"),
        (["--tls-certificate=x"], "--tls-certificate=: needs tls-key too"),
        (["--tls-key=x"], "--tls-key=: needs tls-certificate too"),
        (["--host=a b"], "--host=a b: not an address"),
        (["--body-timeout=0"], "--body-timeout=0: must be longer than 0"),
        (
            ["--ingest=fast"],
            "--ingest=fast: input should be 'auto', 'memory', 'socket' or 'portable'",
        ),
        (["--durability=max"], "--durability=max: input should be 'process', 'normal' or"),
        (["--digest=crc32"], "--digest=crc32: input should be 'sha-256' or 'sha-512'"),
        (["--digest-metadata=sh\u00e4"], "--digest-metadata=sh\u00e4: not a key of metadata"),
        (["--upload-dir="], "--upload-dir=: not the name of a directory"),
        (["--disable=creation,cretion"], "--disable=cretion: none of creation, creation-"),
        (["--cors-origins=a.org"], "--cors-origins=a.org: not an origin: write it as https://"),
        (["--cors-origins=*,https://a/b"], "--cors-origins=https://a/b: not an origin"),
        (["--cors-headers=X Y"], "--cors-headers=X Y: not the name of a header"),
        (["--cache-control=a\r\nSet-Cookie: b"], "--cache-control=a\r\nSet-Cookie: b: not the"),
        (["--cors-credentials"], "--cors-credentials=true: name the pages in cors-origins"),
        (["--state=sqlite:///x"], "--state=sqlite:///x: not a state store: write local,"),
        (["--state=redis://host:0"], "--state=redis://host:0: not a state store"),
        (["--state=redis://host/name"], "--state=redis://host/name: not a state store"),
        (["--state=unix://"], "--state=unix://: not a state store"),
        (["--public-url=example.org"], "--public-url=example.org: not a URL of a site"),
        (["--public-url=https://x/?a"], "--public-url=https://x/?a: not a URL of a site"),
        (["--public-url=https://[x"], "--public-url=https://[x: not a URL of a site"),
        (["--colour=red"], "--colour=red: there is no such flag"),
        (["--prot=1"], "--prot=1: there is no such flag; did you mean --port?"),
        (["--port"], "--port=: expected one argument"),
        (["--po=1"], "--po=1: there is no such flag; did you mean --port?"),
        (["stray"], "stray=: there is no such flag"),
    ],
    ids=lambda value: (
        " ".join(value).encode("unicode_escape").decode() if isinstance(value, list) else ""
    ),
)
def test_a_wrong_flag_is_named_with_its_value_and_the_reason(argv, message):
    assert fault(argv).startswith(message)


def test_a_wrong_variable_is_named_as_a_variable():
    message = fault([], {"TUSSERVER_MAX_SIZE": "10GX"})
    assert message == "TUSSERVER_MAX_SIZE=10GX: not a size: write it as 10GiB or 500MB"


def test_an_empty_variable_is_a_value_like_any_other():
    assert fault([], {"TUSSERVER_PORT": ""}).startswith("TUSSERVER_PORT=: not a port")
    assert load_settings([], {"TUSSERVER_CORS_ORIGINS": ""}).cors_origins == ()


def test_a_wrong_setting_made_by_hand_is_the_same_error():
    with pytest.raises(ConfigError) as caught:
        Settings(max_size="huge")
    assert (caught.value.key, caught.value.value) == ("max_size", "huge")
    with pytest.raises(ConfigError, match="colour=red: there is no such setting"):
        Settings(colour="red")


def test_credentials_need_origins_that_are_named():
    settings = Settings(cors_credentials=True, cors_origins=("https://a.org",))
    assert settings.cors_credentials


@pytest.mark.parametrize(
    ("path", "normalised"),
    [
        ("/", "/"),
        ("", "/"),
        ("files", "/files/"),
        ("/files", "/files/"),
        ("files/", "/files/"),
        ("/a/b-c_d.e~/", "/a/b-c_d.e~/"),
    ],
)
def test_a_base_path_begins_and_ends_with_one_slash(path, normalised):
    assert Settings(base_path=path).base_path == normalised


@pytest.mark.parametrize(
    "path",
    ["/a//b", "/../", "/.", "/a/../b", "/a b", "/a?b", "/{x}", "/%2e", "/\u00e4", "/a\n"],
)
def test_a_base_path_that_would_need_decoding_is_refused(path):
    assert "not a plain path" in fault([f"--base-path={path}"])


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://example.org", "https://example.org/up/"),
        ("https://example.org/", "https://example.org/up/"),
        ("https://example.org:8443/x/files", "https://example.org:8443/x/files/"),
        ("http://[::1]:1080/files/", "http://[::1]:1080/files/"),
    ],
)
def test_a_public_url_is_the_creation_url_that_clients_see(url, seen):
    assert Settings(public_url=url, base_path="/up/").public_url == seen


@pytest.mark.parametrize("text", ["0", "never", "none", "off"])
def test_no_limit_can_be_said(text):
    assert load_settings([f"--expire-after={text}", f"--max-size={text}"], {}).limits() == Limits(
        max_size=None, expire_after=None, expire_finished=None
    )


def test_the_limits_are_those_of_the_settings():
    settings = Settings(max_size=5, expire_after=6, expire_finished=7)
    assert settings.limits() == Limits(max_size=5, expire_after=6.0, expire_finished=7.0)


# --- sizes and times ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1B", 1),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1MB", 10**6),
        ("1mib", 2**20),
        ("9GB", 9 * 10**9),
        ("10GiB", 10 * 2**30),
        ("3TB", 3 * 10**12),
        ("8388607TiB", 8388607 * 2**40),
        (str(MAX_INTEGER), MAX_INTEGER),
        (17, 17),
    ],
)
def test_a_size_is_exact(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            " 1",
            "1 ",
            "1 GiB",
            "+1",
            "-1",
            "1_0",
            "1.5GiB",
            "1e3",
            "0x10",
            "GiB",
            "1GiBs",
            "\u0661",
        ],
        *[str(MAX_INTEGER + 1), "8388608TiB", "9" * 5000, True, 1.0, None, -1],
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r"^not a size: "):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("0", 0), ("500ms", 0.5), ("30s", 30), ("90m", 5400), ("24h", 86_400), ("7d", 604_800)],
        *[("36500d", 36_500 * 86_400), (1.5, 1.5), (3, 3.0)],
    ],
)
def test_a_time_is_exact(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *["", "30", "1w", "1y", "1.5h", "-1s", "+1s", " 1s", "1 s", "s", "1S", "1_0s", "\u0661s"],
        *["36501d", "9" * 5000 + "s", float("nan"), float("inf"), -0.1, True, None],
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"^not a time: "):
        parse_time(text)


@given(st.integers(0, MAX_INTEGER))
def test_a_size_is_written_as_it_is_read(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 36_500 * 86_400_000))
def test_a_time_is_written_as_it_is_read(milliseconds):
    assert parse_time(format_time(milliseconds / 1000)) == milliseconds / 1000


@given(st.text(max_size=12), st.sampled_from(["--max-size", "--expire-after", "--port", "--state"]))
def test_a_value_is_either_understood_or_a_plain_fault(text, flag):
    assert outcome([f"{flag}={text}"]).partition("=")[0] in {flag, "Settings(host"}


# --- passwords ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("local", "local"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@localhost:6379/0", "redis://***@localhost:6379/0"),
        ("rediss://me:secret@[::1]/3", "rediss://***@[::1]/3"),
        ("redis://:se@cr/et?@localhost", "redis://***@localhost"),
        ("redis://localhost/1?password=secret", "redis://localhost/1"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("unix://me:secret@/run/redis.sock?db=2&x=y", "unix://***@/run/redis.sock?db=2"),
        ("redis://:secret", "redis://***"),
        ("me:secret@localhost", "***@localhost"),
    ],
)
def test_the_password_of_a_store_is_not_shown(url, shown):
    assert hide_password(url) == shown


@given(
    st.sampled_from(["redis://", "rediss://", "unix://", "redis:/", "", "sqlite://"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8),
    st.sampled_from(["", "@host:6379/0", "@", "@/run/x?db=1", "@[::1"]),
)
def test_no_password_comes_out_of_a_wrong_store(scheme, tail, place):
    password = "hunter2" + tail.replace("@", "")
    url = f"{scheme}:{password}{place}"
    assert "hunter2" not in hide_password(url)
    assert "hunter2" not in outcome([f"--state={url}"])
