"""Hostile photos, cells and tables, made by rule: what a careful attacker and a careless colleague would send, and its fate."""
