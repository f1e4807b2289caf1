"""Runs workloads through schedulers on machines whose step times are known; no model runs."""
