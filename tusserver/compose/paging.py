"""Settings into the upload page (floor 5)."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tusserver.web.page import load_page, missing_routes, page_routes

if TYPE_CHECKING:
    from aiohttp import web

    from tusserver.config import Settings
    from tusserver.engine.core import UploadEngine
    from tusserver.web.page import PageFiles

logger = logging.getLogger(__name__)

BUILT = Path(__file__).resolve().parents[1] / "page" / "built"
"""Where the build of the package puts the page."""
WHY = BUILT / "missing.txt"
"""Why the build could not make it."""
PARTS = 3
"""Parts that are sent at the same time: a browser opens six connections to a server."""
REMEDY = (
    "install the package again on a machine that reaches the npm registry, or switch the page "
    "off (--no-page)"
)


def page_setup(settings: Settings, engine: UploadEngine) -> list[web.RouteDef]:
    """Make the routes of the page; none if it is switched off. Blocks. Raises: OSError."""
    if not settings.page:
        return []
    files = _files()
    if files is None:
        # Why it was not built is for the log alone: npm's words name the machine that built it.
        return missing_routes(f"It was not built; {REMEDY}.")
    connects = None
    if settings.public_url is not None:
        url = urlsplit(settings.public_url)
        connects = f"{url.scheme}://{url.netloc}"
    return page_routes(files, settings=json.dumps(_told(settings, engine)), connects=connects)


def has_page(settings: Settings) -> bool:
    """Tell whether there is a page to upload with. Blocks."""
    return settings.page and _files() is not None


def tell_if_missing(settings: Settings) -> None:
    """Log, in one line, that the page was not built, and what to do. Blocks."""
    if settings.page and _files() is None:
        logger.warning("there is no upload page at /: %s", _reason())


def _told(settings: Settings, engine: UploadEngine) -> dict[str, object]:
    """Give what the page has to know. Anybody can read it."""
    features = engine.features(base_path=settings.base_path, trailers=False)
    keys = settings.jwt_secret, settings.jwt_public_key, settings.jwt_jwks
    return {
        "endpoint": settings.public_url or "./" + settings.base_path.lstrip("/"),
        "chunkSize": settings.page_chunk_size,
        "parallelFrom": settings.page_parallel_from,
        "parallelParts": PARTS,
        "maxSize": features.max_size,
        "extensions": sorted(features.extensions),
        "wantsToken": any(key is not None for key in keys),
        "takesLinks": settings.url_secret is not None,
        "types": list(settings.allowed_types),
        "endings": list(settings.allowed_extensions),
        "download": settings.download,
        "digest": settings.digest == "sha-256",
        "keptFor": settings.limits().expire_after,
    }


def _reason() -> str:
    try:
        why = WHY.read_text(encoding="utf-8").strip()
    except OSError:
        why = "it was not built"
    return f"{why}; {REMEDY}."


@cache
def _files() -> PageFiles | None:
    return load_page(BUILT)
