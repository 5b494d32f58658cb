"""The browser that the tests drive: what they rely on."""

from __future__ import annotations

import pytest
from playwright.sync_api import Error


def test_what_goes_wrong_in_a_page_is_collected(browser):
    browser.page.evaluate("console.error('written by the page')")
    browser.page.evaluate("setTimeout(() => { throw new Error('thrown by the page') })")
    browser.page.wait_for_timeout(200)

    assert len(browser.errors) == 2
    assert "written by the page" in browser.errors[0]
    assert "thrown by the page" in browser.errors[1]


def test_a_browser_loses_its_network_and_gets_it_back(browser, make_server):
    browser.page.goto(make_server().url)
    browser.go_offline()
    with pytest.raises(Error, match="Failed to fetch"):
        browser.page.evaluate("fetch(location.href)")
    assert browser.page.evaluate("navigator.onLine") is False

    browser.go_online()
    assert browser.page.evaluate("fetch(location.href).then((answer) => answer.status)") == 405


def test_a_browser_that_was_stopped_remembers_what_pages_stored(browser, make_server):
    server = make_server()
    browser.page.goto(server.url)
    browser.page.evaluate("localStorage.setItem('word', 'kept')")
    browser.stop()

    browser.start()
    browser.page.goto(server.url)
    assert browser.page.evaluate("localStorage.getItem('word')") == "kept"
