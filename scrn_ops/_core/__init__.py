"""What every family of ops shares: loading, checks, how operators are called and differentiated."""
