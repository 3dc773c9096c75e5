"""The files that datasets are read from, one reader a format."""
