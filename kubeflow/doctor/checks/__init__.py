"""The doctor's checks, a module for each subject."""
