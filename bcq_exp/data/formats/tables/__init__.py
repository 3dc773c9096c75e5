"""Tables of recorded steps in CSV and Parquet files."""
