"""What the end-to-end tests drive a cluster with: kubectl, helm, jobs made for a test, and the record of what was seen."""
