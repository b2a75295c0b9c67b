"""Where in Redis the two sides of a gateway meet. All names begin alike, so that a user of the server can be confined to them."""

from __future__ import annotations

from typing import NamedTuple


class Keys(NamedTuple):
    """Of one channel: one run at a time has it."""

    channel: str = "default"

    def _key(self, name: str) -> str:
        return f"manyhands:{self.channel}:{name}"

    @property
    def chunks(self) -> str:
        """stream of chunks, of all clients"""
        return self._key("chunks")

    @property
    def beats(self) -> str:
        """hash: a client's name -> what it last said of itself"""
        return self._key("beats")

    @property
    def weights(self) -> str:
        """the newest parameters"""
        return self._key("weights")

    @property
    def refused(self) -> str:
        """short stream of what could not be read"""
        return self._key("refused")

    @property
    def owner(self) -> str:
        """which run has this channel"""
        return self._key("owner")

    def orders(self, client: str) -> str:
        """stream of one entry: the latest word to a client"""
        return self._key("orders:" + client)
