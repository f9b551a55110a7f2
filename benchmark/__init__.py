"""Plans, runs, records and reports the benchmark."""
