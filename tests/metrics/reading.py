"""Metrics as Prometheus reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.support.raw import Tus

if TYPE_CHECKING:
    from tests.support.raw import Response
    from tests.support.server import TusServer


def page(server: TusServer, fields: dict[str, str] | None = None) -> Response:
    """Ask for the page."""
    return Tus(server.url).request("GET", "/metrics", {"Tus-Resumable": None, **(fields or {})})


class Metrics:
    """One reading of a server's metrics."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Give a value; 0 for what has not been counted yet."""
        return self._values.get((f"tusserver_{name}", frozenset(labels.items())), 0.0)

    def since(self, before: Metrics) -> Metrics:
        """Give what was counted after another reading."""
        difference = Metrics("")
        difference._values = {
            key: value - before._values.get(key, 0.0) for key, value in self._values.items()
        }
        return difference

    @property
    def names(self) -> set[str]:
        """Name every sample, of histograms the family."""
        found = set()
        for family in self.families.values():
            if family.type == "histogram":
                found.add(family.name)
            elif family.samples:
                found |= {sample.name for sample in family.samples}
            else:  # Nothing with these labels has happened.
                found.add(family.name + ("_total" if family.type == "counter" else ""))
        return found


def read(server: TusServer) -> Metrics:
    """Read the metrics of a server."""
    answer = page(server)
    assert answer.status == 200, answer
    return Metrics(answer.body.decode())
