"""Photos from the web: which URL is asked for next, one try of one, and which addresses may be connected to."""
