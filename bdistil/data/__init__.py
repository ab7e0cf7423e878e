"""Data sets: named ones, synthetic ones and the user's own files, split three ways."""
