"""A real control plane for tests and laptops, and the parts that stand in for what surrounds the operator: nodes that play pods by
script, and a network that misbehaves on request.

Built from Go modules (`binaries`), started on loopback in seconds (`control_plane`), spoken to by a plain client (`client`), given nodes by
`fake_kubelet` and faults by `fault_proxy`. docs/contributor-cluster.md shows how to use them.
"""
