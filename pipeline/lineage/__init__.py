"""Questions to ML Metadata: which bytes, code and settings made this number?"""
