"""The upload page for all people: by keyboard, by screen reader, on a phone, in the dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.page.visit import Visit, page_of
from tests.support.content import MIB
from tests.support.node import PACKAGES, need_node

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(40)

_AXE = """
async () => {
  const found = await axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa',
    'best-practice']})
  return found.violations.map((one) =>
    `${one.id}: ${one.help} ${one.nodes.map((node) => node.html).join(' ')}`)
}
"""
_WIDTH = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def look_well(tmp_path) -> Callable[[Visit], None]:
    """Prove that axe finds nothing, and that nothing sticks out at the side."""
    need_node()
    script = (PACKAGES / "axe-core" / "axe.min.js").read_text(encoding="utf-8")

    def prove(seen: Visit) -> None:
        if not seen.page.evaluate("() => 'axe' in window"):
            seen.page.evaluate(script)
        assert seen.page.evaluate(_AXE) == []
        assert seen.page.evaluate(_WIDTH) <= 0

    return prove


@pytest.fixture
def visit_with(built, make_browser) -> Callable[..., Visit]:
    """Look at a page with options of Playwright."""
    return lambda server, **options: Visit(make_browser(**options), page_of(server), slow=True)


LOOKS = {
    "light": {"color_scheme": "light"},
    "dark, on a phone": {
        "color_scheme": "dark",
        "viewport": {"width": 360, "height": 740},
        "has_touch": True,
        "is_mobile": True,
    },
}


@pytest.mark.parametrize("options", LOOKS.values(), ids=LOOKS)
def test_every_state_is_accessible(visit_with, make_server, a_file, look_well, options):
    server = make_server("--max-size=8MiB", "--digest=sha-256")
    seen = visit_with(server, **options)
    look_well(seen)
    seen.choose(a_file("a-name-without-any-place-to-break-" * 4 + ".bin", 8 * MIB + 1))
    seen.choose(a_file("done.bin", 1000), a_file("slow.bin", 8 * MIB))
    seen.expect("done.bin", "^Finished$")
    seen.wait_for_bytes("slow.bin", 5)
    look_well(seen)
    seen.press("Pause", "slow.bin")
    look_well(seen)
    seen.page.reload()
    expect(seen.left_over("slow.bin").locator(".status")).to_contain_text("on the server")
    look_well(seen)


def test_everything_can_be_done_with_the_keyboard(make_server, visit, a_file):
    seen = visit(make_server(), slow=True)
    keyboard = seen.page.keyboard
    keyboard.press("Tab")
    with seen.page.expect_file_chooser() as chooser:
        keyboard.press("Space")
    chooser.value.set_files(str(a_file("keys.bin", 9 * MIB)))
    seen.wait_for_bytes("keys.bin", 5)
    keyboard.press("Tab")
    main = seen.page.get_by_role("button", name="Pause: keys.bin")
    expect(main).to_be_focused()
    keyboard.press("Space")
    seen.expect("keys.bin", "^Paused at")
    expect(seen.page.get_by_role("status")).to_have_text("keys.bin: paused")
    expect(seen.page.get_by_role("button", name="Resume: keys.bin")).to_be_focused()
    keyboard.press("Space")
    seen.expect("keys.bin", "left$")
    keyboard.press("Tab")
    expect(seen.page.get_by_role("button", name="Cancel: keys.bin")).to_be_focused()
    keyboard.press("Enter")
    expect(seen.page.locator("#uploads")).to_be_hidden()
    # The focus is where one goes on, not lost with the button.
    expect(seen.page.locator("#files")).to_be_focused()


def test_who_listens_hears_what_happens_and_keeps_the_place(make_server, visit, a_file):
    seen = visit(make_server(), slow=True)
    seen.choose(a_file("heard.bin", 2 * MIB))
    expect(seen.page.get_by_role("status")).to_have_text("heard.bin added")
    expect(seen.page.get_by_role("progressbar", name="Progress of heard.bin")).to_be_visible()
    seen.page.get_by_role("button", name="Pause: heard.bin").focus()
    expect(seen.page.get_by_role("status")).to_have_text("heard.bin: finished", timeout=9000)
    expect(seen.page.get_by_role("link", name="Open: heard.bin")).to_be_focused()
