"""Evaluation -> one self-contained HTML file."""
