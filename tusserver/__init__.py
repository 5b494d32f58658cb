"""A server for the tus resumable upload protocol, on aiohttp."""
