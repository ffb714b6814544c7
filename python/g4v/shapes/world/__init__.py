"""What exists in the shapes world, and how it is drawn."""
