"""What every room measures and writes with."""
