"""Limits per owner and in all, right over every process of a store (floor 4)."""
