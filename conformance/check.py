"""How a check is written: the decorator that registers it, and the words it fails by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.target import Target
    from conformance.wire import Response

    Function = Callable[[Target], None]


class Violation(Exception):
    """A server did otherwise than a clause says; `response` is the one that shows it."""

    def __init__(self, text: str, response: Response | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.response = response


class NotApplicable(Exception):
    """The server's own right choice makes a check moot."""


class Unable(Exception):
    """The server cannot be looked at as it stands: no fault of its, but for whoever runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: the clauses that it proves, and the extensions without which it is moot."""

    name: str
    clauses: tuple[str, ...]
    needs: tuple[str, ...]
    function: Function
    is_alone: bool
    """Whether it must not run beside others."""

    @property
    def text(self) -> str:
        """Say in one sentence what is checked."""
        return " ".join((self.function.__doc__ or "").split())


CHECKS: list[Check] = []
"""Every check that was registered, in the order of the modules."""


def check(
    *clauses: str, needs: tuple[str, ...] = (), is_alone: bool = False
) -> Callable[[Function], Function]:
    """Register a check of these clauses that needs these extensions."""

    def register(function: Function) -> Function:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        CHECKS.append(
            Check(name=name, clauses=clauses, needs=needs, function=function, is_alone=is_alone)
        )
        return function

    return register


def fail(text: str, response: Response | None = None) -> NoReturn:
    """Fail the check: `text` says what should have been."""
    raise Violation(text, response)


def expect(condition: object, text: str, response: Response | None = None) -> None:
    """Fail unless the condition holds; `text` says what should have been."""
    if not condition:
        raise Violation(text, response)


def expect_status(response: Response, *allowed: int) -> None:
    """Fail unless the status is one of these."""
    if response.status not in allowed:
        wanted = " or ".join(str(status) for status in allowed)
        raise Violation(f"expected status {wanted}, got {response.status}", response)


def expect_refusal(response: Response) -> None:
    """Fail unless the status is a 4xx, or 501 (a feature that is not there)."""
    if not (400 <= response.status <= 499 or response.status == 501):  # noqa: PLR2004
        raise Violation(f"expected a refusal (4xx), got {response.status}", response)


def expect_field(response: Response, name: str, value: str | None) -> None:
    """Fail unless a field occurs once with this value; None: unless it is absent."""
    values = response.all(name)
    if value is None:
        if values:
            raise Violation(f"expected no {name}, got {values[0]!r}", response)
    elif values != [value]:
        got = ", ".join(repr(item) for item in values) if values else "none"
        raise Violation(f"expected {name}: {value}, got {got}", response)
