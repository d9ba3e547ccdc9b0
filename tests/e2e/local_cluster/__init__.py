"""A real Kubernetes of a few nodes on one Linux machine, without Docker, virtual machines or a registry: `make local-cluster`."""
