"""The tus grammar, commands and rules: pure, no await, no clock, no os, no aiohttp (floor 2)."""
