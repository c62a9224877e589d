"""What the product stands on: its audit against known advisories, its bill of materials, its licences.

No part of the installed packages; `make audit`, `make sbom` and `make dependencies` run it.
"""
