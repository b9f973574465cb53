"""Solvers that simulate the embedded data."""
