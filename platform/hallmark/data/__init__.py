"""Photographs into clean, split, augmented batches."""
