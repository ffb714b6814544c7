"""The bundle as a whole: manifest, writer, resume of a stopped export, merge of a partial one."""
