"""The verb `serve`: a run behind HTTP, and a web page."""
