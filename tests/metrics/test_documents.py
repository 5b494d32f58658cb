"""Dashboard, alerts and page speak of the metrics that there are, and of all of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.metrics.documents import PAGE, ROOT, with_table
from tests.metrics.reading import read
from tests.support.raw import Tus
from tusserver.metrics.catalogue import LINES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import TusServer

DASHBOARD = json.loads((ROOT / "docs/deploy/grafana.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((ROOT / "docs/deploy/alerts.yml").read_text(encoding="utf-8"))
PROMETHEUS = yaml.safe_load((ROOT / "docs/deploy/prometheus.yml").read_text(encoding="utf-8"))
KNOWN = {line.name: line for line in LINES}
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {panel["title"]: [one["expr"] for one in panel["targets"]] for panel in PANELS}

UNITS = {"short", "s", "bytes", "Bps", "ops", "reqps", "percentunit"}


def metrics_in(query: str) -> set[str]:
    """Name the metrics of a query; of histograms the family."""
    found = set()
    for name in re.findall(r"\btusserver_\w+", query):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        found.add(family if KNOWN.get(family) and KNOWN[family].kind == "histogram" else name)
    return found


def labels_in(query: str) -> set[str]:
    inside = re.findall(r"\{([^}]*)\}", query)
    named = {name for text in inside for name in re.findall(r"(\w+)(?:=~|!=|=)\"", text)}
    grouped = re.findall(r"by \(([^)]*)\)", query)
    return named | {name.strip() for text in grouped for name in text.split(",")}


def test_the_page_has_the_table_that_the_code_makes():
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_table(text), "run python -m tests.metrics.documents --write"


def test_every_metric_of_the_page_exists():
    names = set(re.findall(r"`(tusserver_\w+)", PAGE.read_text(encoding="utf-8")))
    assert names == set(KNOWN)


def test_a_server_tells_exactly_the_metrics_that_are_known(make_server: Callable[..., TusServer]):
    url = "http://127.0.0.1:9/nobody"
    server = make_server("--webhook-url", url, "--webhook-events", "post-create")
    tus = Tus(server.url)
    tus.content(tus.upload(b"hello"))
    tus.post({})
    assert read(server).names == set(KNOWN)


def test_every_metric_is_on_the_dashboard():
    shown = {
        name for queries in QUERIES.values() for query in queries for name in metrics_in(query)
    }
    assert shown == set(KNOWN)


@pytest.mark.parametrize("title", QUERIES)
def test_a_panel_uses_labels_that_there_are(title):
    for query in QUERIES[title]:
        names = metrics_in(query)
        assert names, query
        known = {label for name in names for label in KNOWN[name].labels}
        assert labels_in(query) <= known | {"le", "job", "instance"}, query


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel):
    assert panel["description"].endswith((".", "`."))
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(one["datasource"]["uid"] == "${datasource}" for one in panel["targets"])
    assert all(
        "$__rate_interval" in one["expr"] for one in panel["targets"] if "rate(" in one["expr"]
    )


def test_the_dashboard_can_be_laid_out():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Now", "Traffic", "Uploads", "Storage and durability", "Trouble"]
    assert DASHBOARD["templating"]["list"][0]["name"] == "datasource"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_about_what_there_is_and_says_what_to_mend(rule):
    names = metrics_in(rule["expr"])
    assert names <= set(KNOWN)
    assert names or rule["expr"].startswith("up{")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    known = {label for name in names for label in KNOWN[name].labels}
    assert labels_in(rule["expr"]) <= known | {"le", "job", "instance"}


def test_prometheus_reads_the_alerts_and_the_server():
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["job_name"] == "tusserver"
    assert "metrics_path" not in job  # /metrics is its default
