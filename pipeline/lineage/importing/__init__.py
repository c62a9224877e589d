"""Runs that other systems recorded, brought into our ML Metadata store: one reader for each system, and one writer."""
