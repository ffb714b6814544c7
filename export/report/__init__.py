"""The report of an export: report.json and report.html."""
