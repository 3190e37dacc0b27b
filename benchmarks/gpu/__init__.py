"""What gpu_check.sh runs, and the pages that are made of it."""
