"""`g4v serve`: a server with the routes of OpenAI's API over one assistant. Needs the extra g4v[serve]."""
