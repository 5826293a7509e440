"""What is measured: one question, one file, one `tables.Section` each."""
