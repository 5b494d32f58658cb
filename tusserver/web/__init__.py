"""aiohttp requests to commands, results to responses (floor 5)."""
