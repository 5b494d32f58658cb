"""Metrics by prometheus_client (floor 4); the only room that knows this library."""

from tusserver.metrics.meter import PrometheusMeter

__all__ = ["PrometheusMeter"]
