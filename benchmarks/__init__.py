"""Measurements that print tables and assert nothing: `make bench`, or `python -m benchmarks
step`."""
