"""Servers that Python code starts, and that go on without it: `serve` and `client`.

The names and what they do are DeepSpeed-MII's.
"""

from server.llm.deployments.deployment_client import DeploymentClient, Response, client
from server.llm.deployments.starting import serve

__all__ = ["DeploymentClient", "Response", "client", "serve"]
