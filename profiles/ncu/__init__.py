"""Nsight Compute: plan what to capture, run it, read what came out, explain it."""
