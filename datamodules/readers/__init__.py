"""Readers of files in the wild, lazy where the file is large."""
