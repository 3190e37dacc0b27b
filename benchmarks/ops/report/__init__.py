"""The tables, the pages and the pictures of a run."""
