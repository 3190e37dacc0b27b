"""The parts of gpu_check.sh that are Python."""
