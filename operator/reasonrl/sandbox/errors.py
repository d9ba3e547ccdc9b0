"""What the sandbox raises and warns with: a pool that cannot work at all, and a wall that the kernel refuses to build.

Failures of the code inside are never raised; they are results.
"""

from __future__ import annotations


class SandboxError(Exception):
    """No worker can be started, or the pool is used after it was closed. The message says what to do."""


class SandboxWarning(UserWarning):
    """This machine does not permit one of the sandbox's walls; work goes on without it."""
