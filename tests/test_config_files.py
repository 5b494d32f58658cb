"""Settings from a TOML file, and secrets from files of their own."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tusserver.config import (
    OTHER_VARIABLES,
    SECRET_FILES,
    Settings,
    load_command,
    load_settings,
    variable_of,
)
from tusserver.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def write(tmp_path):
    def make(text, name="tusserver.toml", *, mode=0o600):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    return make


def fault(argv=(), environ=None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(list(argv), environ or {})
    assert caught.value.__cause__ is None
    return caught.value.message


# --- the file -----------------------------------------------------------------------------


def test_flags_win_over_variables_over_the_file_over_defaults(write):
    file = write('port = 2000\nhost = "::1"\nbase-path = "/up/"\nreserve = "1MiB"')
    environ = {"TUSSERVER_HOST": "::2", "TUSSERVER_BASE_PATH": "/v/"}
    chosen = load_settings(["--config", file, "--base-path=/f/"], environ)
    assert (chosen.base_path, chosen.host, chosen.port) == ("/f/", "::2", 2000)
    assert (chosen.reserve, chosen.body_timeout) == (2**20, 60.0)


def test_where_each_setting_came_from_is_known(write):
    file = write("port = 2000\nmax-size = 1")
    environ = {"TUSSERVER_HOST": "::2", "TUSSERVER_PORT": "1"}
    argv = [f"--config={file}", "--port=3"]
    origins = load_command(argv, environ, declare=None)[1].origins
    assert set(origins) == set(Settings.model_fields)
    found = {name: origins[name].label for name in ("port", "host", "max_size", "reserve")}
    assert found == {
        "port": "--port",
        "host": "TUSSERVER_HOST",
        "max_size": f"{file}: max-size",
        "reserve": "",
    }


def test_a_variable_can_name_the_file_and_a_flag_another(write):
    first, second = write("port = 1"), write("port = 2", "other.toml")
    assert load_settings([], {"TUSSERVER_CONFIG": first}).port == 1
    assert load_settings(["--config", second], {"TUSSERVER_CONFIG": first}).port == 2
    assert load_settings(["--config", second], {"TUSSERVER_CONFIG": "/none"}).port == 2


def test_no_file_is_read_that_was_not_named(write, tmp_path, monkeypatch):
    write("port = 1")
    monkeypatch.chdir(tmp_path)
    assert load_settings([], {}).port == 1080


def test_values_are_written_as_in_flags_or_as_toml_has_them(write):
    file = write(
        'max_size = "10GiB"\nexpire-after = "24h"\ndownload = false\nreserve = 4096\n'
        'cors_origins = ["https://a.org", "https://b.org"]\ncors-headers = "X-A, X-B"\n'
        'disable = []\nexpire-finished = "never"'
    )
    chosen = load_settings(["--config", file], {})
    assert (chosen.max_size, chosen.expire_after) == (10 * 2**30, 86_400.0)
    assert (chosen.download, chosen.reserve) == (False, 4096)
    assert chosen.cors_origins == ("https://a.org", "https://b.org")
    assert (chosen.cors_headers, chosen.disable) == (("X-A", "X-B"), ())
    assert chosen.expire_finished is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('max-size = "10GX"', "max-size=10GX: not a size: write it as 10GiB or 500MB"),
        ("max-size = true", "max-size=True: not a size"),
        ("max-size = 1.5", "max-size=1.5: not a size: write it as 10GiB or 500MB"),
        ("expire-after = 30", "expire-after=30: not a time: write it as 500ms, 30s"),
        ("expire-after = 2026-01-01", "expire-after=2026-01-01: not a time"),
        ("port = [1]", "port=['1']: not a port: write a number from 0 to 65535"),
        ('port = "many"', "port=many: not a port"),
        ('host = ["::1"]', "host=['::1']: input should be a valid string"),
        ('download = "perhaps"', "download=perhaps: write on or off"),
        ("cors-origins = [1]", "cors-origins=1: not an origin"),
        ('log-level = "loud"', "log-level=loud: input should be 'debug', 'info'"),
        ("colour = 1", "colour=: there is no such setting"),
        ("prot = 1", "prot=: there is no such setting; did you mean port?"),
        ('max_sice = "1"', "max-sice=: there is no such setting; did you mean max-size?"),
        ("[storing]\nport = 1", "storing=: there are no tables: write each setting on its own"),
        ("max-size = 1\nmax_size = 2", "max_size=: is given twice, with - and with _"),
        ('config = "x"', "config=: there is no such setting"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_file(write, text, message):
    file = write(text)
    assert fault(["--config", file]).startswith(f"{file}: {message}")


def test_what_is_no_toml_is_told_with_its_line(write):
    file = write("port = 1\nhost ::1\n")
    message = fault(["--config", file])
    assert message.startswith(f"{file}=: not TOML: expected '='")
    assert "line 2" in message


def test_what_is_no_text_is_told(write):
    file = write(b"\xff\xfe")
    assert fault(["--config", file]) == f"{file}=: not a TOML file: it is not UTF-8 text"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.toml", "cannot be read: No such file or directory"),
        ("", "cannot be read: Is a directory"),
        ("\0", "cannot be read: not the name of a file"),
    ],
    ids=["missing", "a directory", "no name"],
)
def test_a_file_that_cannot_be_read_is_named_as_it_was_given(tmp_path, name, reason):
    path = f"{tmp_path}/{name}"
    assert fault([f"--config={path}"]) == f"--config={path}: {reason}"
    assert fault([], {"TUSSERVER_CONFIG": path}) == f"TUSSERVER_CONFIG={path}: {reason}"


def test_what_is_far_too_large_is_not_read_to_its_end():
    assert fault(["--config=/dev/zero"]) == "--config=/dev/zero: is larger than 1048576 bytes"


def test_a_wrong_key_under_a_right_flag_does_no_harm(write):
    assert load_settings(["--config", write("port = 'x'"), "--port=1"], {}).port == 1


def test_the_file_that_the_documentation_shows_is_right(write):
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    chosen = load_settings(["--config", write(example)], {})
    assert chosen.max_size == 10 * 2**30
    assert chosen.cors_origins[1] == "https://*.example.org"


# --- secrets ------------------------------------------------------------------------------

URL = "redis://:hunter2@localhost:6379/0"


def test_every_secret_and_nothing_else_can_stand_in_a_file_of_its_own():
    secret = {name for name, field in Settings.model_fields.items() if not field.repr}
    assert set(SECRET_FILES.values()) == secret
    assert "state" in secret
    assert not set(SECRET_FILES) & set(Settings.model_fields)
    assert not set(map(variable_of, SECRET_FILES)) & set(OTHER_VARIABLES)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["bare", "newline", "crlf"])
def test_a_secret_is_read_from_the_file_that_a_flag_a_variable_or_the_file_names(write, end):
    secret = write(URL + end, "redis")
    file = write(f'state-file = "{secret}"')
    assert load_settings(["--state-file", secret], {}).state == URL
    assert load_settings([], {"TUSSERVER_STATE_FILE": secret}).state == URL
    assert load_settings(["--config", file], {}).state == URL


def test_a_secret_of_a_higher_layer_wins(write):
    secret = write(URL, "redis")
    assert load_settings(["--state=local"], {"TUSSERVER_STATE_FILE": secret}).state == "local"
    assert load_settings(["--state-file", secret], {"TUSSERVER_STATE": "local"}).state == URL
    assert load_settings(["--state=local"], {"TUSSERVER_STATE_FILE": "/none"}).state == "local"


def test_a_secret_and_its_file_in_one_place_is_an_error(write):
    secret = write(URL, "redis")
    message = fault(["--state-file", secret, f"--state={URL}"])
    assert message == "--state-file=: --state is given too: give one of the two"
    environ = {"TUSSERVER_STATE_FILE": secret, "TUSSERVER_STATE": URL}
    assert fault([], environ).startswith("TUSSERVER_STATE_FILE=: TUSSERVER_STATE is given too")
    file = write(f"state = '{URL}'\nstate_file = '{secret}'")
    assert fault(["--config", file]).startswith(f"{file}: state-file=: {file}: state is given")


def test_a_file_of_a_secret_that_cannot_be_read_is_named(tmp_path, write):
    path = str(tmp_path / "none")
    reason = "cannot be read: No such file or directory"
    assert fault(["--state-file", path]) == f"--state-file={path}: {reason}"
    message = fault([], {"TUSSERVER_STATE_FILE": path})
    assert message == f"TUSSERVER_STATE_FILE={path}: {reason}"
    file = write(f"state_file = '{path}'")
    assert fault(["--config", file]) == f"{file}: state-file={path}: {reason}"
    binary = write(b"\xff", "binary")
    assert fault(["--state-file", binary]) == f"--state-file={binary}: is not UTF-8 text"


@pytest.mark.parametrize("content", ["hunter2", "redis:/:hunter2@x", "a\nhunter2", ""])
def test_what_a_file_of_a_secret_holds_is_not_in_the_error(write, content):
    secret = write(content, "redis")
    message = fault(["--state-file", secret])
    assert message.startswith(f"--state-file={secret}: not a state store")
    assert "hunter2" not in message


def test_a_misspelt_flag_of_a_secret_is_not_repeated():
    assert fault([f"--sate={URL}"]) == "--sate=: there is no such flag; did you mean --state?"


def test_a_file_of_a_secret_that_everybody_can_read_is_logged(write, caplog):
    secret = write(URL, "redis", mode=0o644)
    with caplog.at_level(logging.WARNING):
        load_settings(["--state-file", secret], {})
    assert caplog.messages == [
        f"{secret} holds a secret and every user can read it: chmod o-r {secret}"
    ]


def test_a_file_of_settings_with_a_secret_that_everybody_can_read_is_logged(write, caplog):
    harmless = write("state = 'redis://localhost/0'\nport = 1", mode=0o644)
    secret = write(f"state = '{URL}'", "secret.toml", mode=0o644)
    with caplog.at_level(logging.WARNING):
        load_settings(["--config", harmless], {})
        assert caplog.messages == []
        load_settings(["--config", secret], {})
    [line] = caplog.messages
    assert line.startswith(f"{secret} holds a secret")
    assert "hunter2" not in line


def test_the_variables_of_files_are_known(write, caplog):
    environ = {"TUSSERVER_STATE_FILE": write("local", "s"), "TUSSERVER_CONFIG": write("")}
    with caplog.at_level(logging.WARNING):
        load_settings([], environ)
    assert caplog.messages == []


@given(text=st.text(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_is_either_understood_or_a_plain_fault(tmp_path, text):
    path = tmp_path / "some.toml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    with suppress(ConfigError):
        load_settings([f"--config={path}"], {})
