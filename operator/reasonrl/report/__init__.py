"""Reads finished or running runs and draws pages of them. It knows only the files that a run leaves."""
