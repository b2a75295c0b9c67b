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

    @property
    def evaluation(self) -> str:
        """what is to be evaluated, and how: see ``client_evaluation``"""
        return self._key("evaluation")

    @property
    def called(self) -> str:
        """stream of one entry: the mark of the evaluation under way; empty: none is"""
        return self._key("called")

    @property
    def offers(self) -> str:
        """stream of episodes that clients may take to play"""
        return self._key("offers")

    @property
    def records(self) -> str:
        """stream of what came of them"""
        return self._key("records")

    def orders(self, client: str) -> str:
        """stream of one entry: the latest word to a client"""
        return self._key("orders:" + client)
