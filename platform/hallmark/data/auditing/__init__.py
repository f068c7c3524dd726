"""The audit of a manifest: what a split, a label or a photograph hides."""
