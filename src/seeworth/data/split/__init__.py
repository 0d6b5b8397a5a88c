"""What belongs together, and in which split it stands."""
