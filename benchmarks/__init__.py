"""Measurements that stay: ratios against a peer in the same run, and counts at the server."""
