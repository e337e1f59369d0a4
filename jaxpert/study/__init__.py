"""Many runs as one comparison: what to run, rows of results, tables with intervals."""
