"""A replica is lost, and nobody notices.

A front passes tokens from replicas to users. When a replica dies, its requests must go elsewhere: each exactly once,
none forgotten. The next replica starts a request from its beginning, and because a request's tokens do not depend on
who computes them (same seed, same noise), it makes the same tokens again. What the user has seen must not be sent
twice.

One more trap: the replica that was given up may be alive after all, and go on talking. It has no say any more.

    submit("a"), assign(0) -> "a"; token(0, "a", 0, 55) -> True: passed on
    lose(0) -> ["a"]; assign(1) -> "a"
    token(1, "a", 0, 55) -> False: seen before;  token(1, "a", 1, 17) -> True;  token(0, "a", 1, 99) -> False
"""


class Front:
    def __init__(self) -> None:
        self.waiting: list[str] = []  #: requests that no replica works on, the next first
        self.working: dict[str, int] = {}  #: request -> the replica that works on it
        self.streams: dict[str, list[int]] = {}  #: request -> tokens that its user has seen
        self.ended: set[str] = set()

    def submit(self, request: str) -> None:
        """It waits behind all others. Raises ValueError for one that was submitted before."""
        if request in self.streams:
            raise ValueError(f"request {request!r} was submitted before")
        self.streams[request] = []
        self.waiting.append(request)

    def assign(self, replica: int) -> str | None:
        """The next waiting request, which ``replica`` works on from now on. None when nobody waits."""
        if not self.waiting:
            return None
        request = self.waiting.pop(0)
        self.working[request] = replica
        return request

    def token(self, replica: int, request: str, position: int, token: int) -> bool:
        """``replica`` says that output token number ``position`` of ``request`` is ``token``.

        True if it was passed on to the user: it comes from the replica that works on the request, and is the next one.
        Raises ValueError where that replica has left one out.
        """
        raise NotImplementedError("12.failover: token is yours to write")

    def end(self, replica: int, request: str) -> bool:
        """``replica`` says that ``request`` is complete. True if it has a say in it."""
        raise NotImplementedError("12.failover: end is yours to write")

    def lose(self, replica: int) -> list[str]:
        """Give up a replica: what it worked on waits again, *before* all others, in the order of submission.

        Returns those requests. To lose it twice changes nothing more.
        """
        raise NotImplementedError("12.failover: lose is yours to write")
