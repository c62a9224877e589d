"""`hares lineage page`: a store's runs, lineage and comparisons as one self-contained page."""
