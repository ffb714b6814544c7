"""The components of a bundle: how each is loaded, built and described."""
