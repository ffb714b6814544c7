"""How the embedded default is trained."""
