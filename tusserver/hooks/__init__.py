"""The application's code around uploads (floor 4)."""
