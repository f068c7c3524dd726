"""What the benchmark on real photographs measures."""
