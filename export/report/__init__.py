"""report.json and report.html of a bundle."""
