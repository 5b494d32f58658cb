"""Deliberately broken tus servers: each mutant of a tiny correct one has a single defect.

Importing this package registers all of them in MUTANTS.
"""

from conformance.mutants import (
    breaks_core,
    breaks_creation,
    breaks_extensions,
    breaks_http,
    breaks_patch,
)
from conformance.mutants.register import MUTANTS, Mutant
from conformance.mutants.server import TinyTus

__all__ = [
    "MUTANTS",
    "Mutant",
    "TinyTus",
    "breaks_core",
    "breaks_creation",
    "breaks_extensions",
    "breaks_http",
    "breaks_patch",
]
