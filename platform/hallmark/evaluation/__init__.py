"""Measures verdicts against the truth and writes the figures, tables and report."""
