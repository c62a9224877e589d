"""Runs that other systems recorded, brought into our ML Metadata store: one file a system, one writer."""
