"""What a run tells the people who watch it: the terminal, Prometheus, and the files that the report reads."""
