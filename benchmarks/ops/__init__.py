"""The ops against the chain that they replace."""
