"""Protocols, runner, tables and paired tests."""
