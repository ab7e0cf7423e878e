"""Named data sets: synthetic ones, small ones that are always there, and published ones."""
