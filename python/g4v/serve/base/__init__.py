"""What the server stands on: errors, fields, keys, log lines, figures, places, the reader of events."""
