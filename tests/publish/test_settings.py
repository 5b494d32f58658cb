"""Where files may be published: neither inside the upload directory nor around it."""

from __future__ import annotations

import pytest

from tusserver.config import Settings
from tusserver.errors import ConfigError


@pytest.mark.parametrize(
    "place", ["up", "up/films", ".", "linked", "linked/films", "elsewhere/../up/films"]
)
def test_the_two_trees_lie_apart(tmp_path, place):
    (tmp_path / "up").mkdir()
    (tmp_path / "linked").symlink_to("up")
    settings = {"upload_dir": tmp_path / "up", "publish": "{name}"}
    with pytest.raises(ConfigError, match="beside the upload directory"):
        Settings(publish_dir=tmp_path / place, **settings)
    (tmp_path / "uploads").symlink_to("up")
    settings["upload_dir"] = tmp_path / "uploads"
    with pytest.raises(ConfigError, match="beside the upload directory"):
        Settings(publish_dir=tmp_path / place, **settings)
    assert Settings(publish_dir=tmp_path / "films", **settings).publish_dir == tmp_path / "films"


def test_a_template_needs_a_directory(tmp_path):
    with pytest.raises(ConfigError, match="needs --publish-dir"):
        Settings(upload_dir=tmp_path / "up", publish="{name}")
