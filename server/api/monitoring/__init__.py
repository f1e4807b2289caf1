"""What /metrics and /v1/status tell: the numbers of the process, its models and their nodes.

They are read in threads of their own, from plain numbers, so that no request waits for them.
"""
