"""Settings: what becomes of finished files (floor 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from tusserver.config.fields import setting
from tusserver.protocol.naming import check_template
from tusserver.values import FileMode

Template = Annotated[str, AfterValidator(check_template)]


class PublishingSettings(BaseModel):
    """What becomes of finished files."""

    publish: Template | None = setting(
        "TEMPLATE",
        "Give finished files names below --publish-dir, such as {year}/{month}/{owner}/{name}; "
        "also {day}, {stem}, {extension} and {id}. The name is a hard link, or a copy on another "
        "file system; no file is ever replaced.",
        default=None,
    )
    publish_dir: Path | None = setting(
        "DIRECTORY", "Where finished files get those names.", default=None
    )
    publish_collision: Literal["number", "id"] = setting(
        "RULE",
        "What a name that is taken gets: number, as in film (2).mp4, or id, that of the upload.",
        default="number",
    )
    publish_mode: FileMode | None = setting(
        "MODE",
        "Permissions of published files, such as 644; none: those of the server's own files, 640.",
        default=None,
    )


def publishing_fault(
    publish: str | None, publish_dir: Path | None, upload_dir: Path
) -> tuple[str, str] | None:
    """Give the setting that contradicts another one, and the reason; None if all is well."""
    if publish is None:
        return None
    if publish_dir is None:
        return "publish", "needs --publish-dir, the directory below which the names are made"
    # What a symbolic link leads to counts, and so does a directory that is not made yet.
    inner, outer = publish_dir.resolve(), upload_dir.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        reason = "must lie beside the upload directory, not inside or around it"
        return "publish_dir", f"{reason}: --upload-dir is {outer}"
    return None
