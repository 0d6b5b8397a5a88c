"""Every photo of an import, taken once: read or fetched, decoded, stored, and noted in a ledger that outlives a kill."""
