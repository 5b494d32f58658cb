"""What the tests of faults share: how much of them is done, their chances, what they count."""

from __future__ import annotations

from tests.support.longform import amount, dice, figures, seed

__all__ = ["amount", "dice", "figures", "seed"]
