"""Requests that an assistant refuses, and harmless ones that sound like them: wordings and files."""
