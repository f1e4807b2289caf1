"""What all requests have in common."""

from dataclasses import dataclass

__all__ = ["ClientRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRequest:
    """A request. `client` is who asks, as far as the server knows: the name of an API key, or an
    address. Clients share a model fairly; "" is one of them. Only requests with the same
    `cache_salt` share cached prefixes. `adapter` is the name of the model's adapter that
    is asked, or "" for the model itself.
    """

    client: str = ""
    cache_salt: str = ""
    adapter: str = ""

    @property
    def num_requests(self) -> int:
        """How many it counts for where requests are counted."""
        return 1
