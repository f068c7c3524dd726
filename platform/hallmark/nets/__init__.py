"""Torch modules, with no knowledge of training."""
