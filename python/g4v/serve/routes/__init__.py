"""The routes, and what is around each request."""
