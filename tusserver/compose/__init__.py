"""Settings into a running server (floor 5): the only place that knows the backends."""

from tusserver.compose.adopting import adopt
from tusserver.compose.engine import SystemClock, build_engine
from tusserver.compose.paging import has_page
from tusserver.compose.serving import build_app, serve

__all__ = ["SystemClock", "adopt", "build_app", "build_engine", "has_page", "serve"]
