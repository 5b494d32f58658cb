"""The list of the mutants: each one a class with a single defect, told in its docstring."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.mutants.server import TinyTus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Broken = TypeVar("Broken", bound=TinyTus)


@dataclass(frozen=True)
class Mutant:
    """One broken server; a check of at least one of `clauses` has to fail on it."""

    name: str
    defect: str
    clauses: tuple[str, ...]
    server: type[TinyTus]
    settings: Mapping[str, Any]

    def make(self) -> TinyTus:
        """Make such a server, with the settings that show its defect."""
        return self.server(**self.settings)


MUTANTS: dict[str, Mutant] = {}


def mutant(*clauses: str, **settings: Any) -> Callable[[type[Broken]], type[Broken]]:
    """Register a class as a mutant that these clauses catch; `settings` are those of TinyTus."""

    def register(server: type[Broken]) -> type[Broken]:
        name = re.sub("(?<!^)(?=[A-Z])", "-", server.__name__).lower()
        defect = " ".join((server.__doc__ or "").split())
        MUTANTS[name] = Mutant(name, defect, clauses, server, settings)
        return server

    return register
