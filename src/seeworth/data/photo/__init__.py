"""The only place where a photo file is opened: its header, its decoder, its pixels, and what it looks like."""
