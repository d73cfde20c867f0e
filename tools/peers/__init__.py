"""Pieces of `tools/compare_peers.py`: what each peer is asked, and the table of what they took."""
