"""What the tests in a browser share."""

from tests.support.browser import browser, make_browser

__all__ = ["browser", "make_browser"]
