"""What a search leaves on disk: the run directory, its journal and records."""
