"""The whole network: its time by variant, by part and by operator, and its memory."""
