"""ReasonRL: reinforcement learning for reasoning models as a Kubernetes resource."""
