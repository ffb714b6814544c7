"""The load generator of `g4v bench serve`. It needs aiohttp, and nothing of the server."""
