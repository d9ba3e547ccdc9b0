"""The rules that no single field can check: how the fields of a job fit together.

One module for each topic of the spec; each yields problems, and none stops at the first.
"""
