"""Signals and rules: pure functions over Arrow batches. No Beam, no torch, no files of a run."""
