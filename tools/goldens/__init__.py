"""Pieces of `tools/make_goldens.py`: reference data that the Rust tests compare with."""
