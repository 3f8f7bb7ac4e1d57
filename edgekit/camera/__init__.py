"""What a camera pipeline's run says: its record, its figures and its timeline; no I/O but files."""
