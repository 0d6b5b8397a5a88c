"""What every HTML page of ours is made of: one style sheet, charts as inline SVG, a template engine that escapes.

A page is one file that opens from disk and fetches nothing. Knows nothing of what a page is about.
"""
