"""Deliberately broken tus servers: each mutant of a tiny correct one has a single defect."""
