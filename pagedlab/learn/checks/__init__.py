"""The checks, one module a chapter."""
