"""The upload page in a browser: files go up, and people see how."""

from __future__ import annotations

import hashlib
import re

import pytest
from playwright.sync_api import expect

from tests.page.visit import creations
from tests.support.content import MIB
from tests.support.raw import Tus
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(40)


def test_a_chosen_file_arrives_with_its_checksum_and_a_link(make_server, visit, a_file):
    server = make_server("--digest=sha-256")
    seen = visit(server)
    file = a_file("holiday in Málaga.bin", 3 * MIB)
    seen.choose(file)
    seen.assert_arrived(file.name, 3 * MIB)
    digest = seen.card(file.name).locator(".digest")
    expect(digest).to_contain_text(hashlib.sha256(file.read_bytes()).hexdigest())
    expect(digest).to_contain_text("the same on the server")
    answer = seen.page.request.get(seen.link(file.name))
    assert "M%C3%A1laga" in answer.headers["content-disposition"]
    seen.assert_clean()


def test_dropped_files_go_up_at_the_same_time(server, visit):
    seen = visit(server)
    sizes = [("one.bin", 5 * MIB), ("two.bin", 4 * MIB), ("three.txt", 1), ("empty.txt", 0)]
    seen.drop(sizes)
    for name, _ in sizes:
        seen.expect(name, "^Finished$")
    for name, size in sizes:
        assert seen.page.request.get(seen.link(name)).body() == bytes(size)
    assert creations(server) == 4
    log = server.whole_log()
    assert len(re.findall(r"POST \S+ 201", log[: log.index(" 204 ")])) >= 2, "one after the other"
    seen.assert_clean()


def test_an_upload_tells_its_speed_and_what_is_left(make_server, visit, a_file):
    seen = visit(make_server(), slow=True)
    seen.choose(a_file("slow.bin", 12 * MIB))
    seen.expect("slow.bin", r"[0-9]+ % · .* of 12 MiB · .*iB/s · .* left")
    assert re.match("[0-9]+ % - Upload files", seen.page.title())


def test_a_paused_upload_stands_still_and_goes_on_where_it_was(make_server, visit, a_file):
    server = make_server()
    seen = visit(server, slow=True)
    seen.choose(a_file("film.bin", 8 * MIB))
    seen.wait_for_bytes("film.bin")
    seen.press("Pause", "film.bin")
    seen.expect("film.bin", "^Paused at")
    [data] = [path for path in server.upload_dir.glob("??/*") if not path.suffix]
    url = f"{server.url}{data.name}"
    # What was on its way arrives for a moment more.
    offset = Tus(server.url).offset
    assert eventually(lambda: 0 < offset(url) == offset(url) < 8 * MIB)
    seen.press("Resume", "film.bin")
    seen.assert_arrived("film.bin", 8 * MIB)
    assert seen.link("film.bin") == url
    assert creations(server) == 1
    seen.assert_clean()


def test_a_cancelled_upload_is_gone_from_the_server_and_the_page(make_server, visit, a_file):
    server = make_server()
    seen = visit(server, slow=True)
    seen.choose(a_file("mistake.bin", 8 * MIB))
    seen.wait_for_bytes("mistake.bin")
    seen.press("Cancel", "mistake.bin")
    expect(seen.page.locator("#uploads")).to_be_hidden()
    assert eventually(lambda: not [*server.upload_dir.glob("??/*")])
    assert eventually(lambda: "DELETE /files/" in server.log)
    seen.page.reload()
    expect(seen.page.locator("#unfinished")).to_be_hidden()
    seen.assert_clean()


def test_a_large_file_goes_up_in_parts_at_the_same_time(make_server, visit, a_file):
    server = make_server("--page-parallel-from=4MiB")
    seen = visit(server, slow=True)
    seen.choose(a_file("large.bin", 7 * MIB + 1))
    seen.wait_for_bytes("large.bin")
    seen.press("Pause", "large.bin")
    seen.expect("large.bin", "^Paused at")
    seen.press("Resume", "large.bin")
    seen.assert_arrived("large.bin", 7 * MIB + 1)
    assert creations(server) == 3 + 1
    seen.assert_clean()


def test_without_concatenation_a_large_file_goes_up_in_one(make_server, visit, a_file):
    server = make_server("--page-parallel-from=1MiB", "--disable=concatenation")
    seen = visit(server)
    seen.choose(a_file("large.bin", 3 * MIB))
    seen.assert_arrived("large.bin", 3 * MIB)
    assert creations(server) == 1


def test_the_size_of_chunks_can_be_set(make_server, visit, a_file):
    server = make_server("--page-chunk-size=1MiB")
    seen = visit(server)
    seen.choose(a_file("pieces.bin", 5 * MIB))
    seen.assert_arrived("pieces.bin", 5 * MIB)
    assert len(re.findall("PATCH .* received=1048576 ", server.whole_log())) == 5


def test_a_folder_is_walked(server, visit, tmp_path):
    seen = visit(server)
    entries = """
    () => {
      const file = (name) => ({isFile: true, isDirectory: false, fullPath: `/trip/${name}`,
        file: (take) => take(new File(['hello'], name.split('/').pop()))})
      const reader = (lists) => ({readEntries: (take) => take(lists.shift() ?? [])})
      const folder = {isFile: false, isDirectory: true, fullPath: '/trip',
        createReader: () => reader([[file('one.txt')], [file('deep/two.txt')]])}
      const transfer = {items: [{webkitGetAsEntry: () => folder}], files: [], types: ['Files']}
      const event = new Event('drop')
      event.dataTransfer = transfer
      dispatchEvent(event)
    }
    """
    seen.page.evaluate(entries)
    seen.expect("trip/one.txt", "^Finished$")
    seen.expect("trip/deep/two.txt", "^Finished$")
    seen.assert_clean()


def test_finished_files_keep_their_links_when_the_page_is_reloaded(server, visit, a_file):
    seen = visit(server)
    seen.choose(a_file("done.bin", 1000))
    seen.expect("done.bin", "^Finished$")
    link = seen.link("done.bin")
    seen.page.reload()
    assert seen.link("done.bin") == link
    seen.press("Clear", "done.bin")
    seen.page.reload()
    expect(seen.page.get_by_text("done.bin")).to_have_count(0)


def test_the_same_file_twice_is_uploaded_once(make_server, visit, a_file):
    server = make_server()
    seen = visit(server, slow=True)
    file = a_file("once.bin", 4 * MIB)
    seen.choose(file)
    seen.choose(file)
    expect(seen.page.get_by_role("status")).to_have_text("These files are in the list already")
    expect(seen.page.locator("#uploads .card")).to_have_count(1)
