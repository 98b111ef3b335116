"""An S3 server that treats conditional writes as some servers do: the real one behind an edge."""

import os
from collections.abc import Sequence

from tests.integration.scenarios.edge import OF_A_CONNECTION, Edge, Handler

CONDITION = "If-None-Match"


class S3Edge(Edge):
    """In front of the server that AWS_ENDPOINT_URL names.

    `ignored`: conditions are dropped before the real server sees them. `refusal`: status and body of the answer to
    conditional writes. `to_lose`: of how many conditional writes the answer is lost after the server has done them.
    `seen`: paths of the conditional writes that came in.
    """

    def __init__(self) -> None:
        super().__init__(os.environ["AWS_ENDPOINT_URL"], S3Handler)
        self.ignored = False
        self.refusal: tuple[int, bytes] | None = None
        self.to_lose = 0
        self.seen: list[str] = []


class S3Handler(Handler):
    server: S3Edge

    def treat(self, body: bytes) -> None:
        if CONDITION not in self.headers:
            super().treat(body)
            return
        edge = self.server
        edge.seen.append(self.path)
        if edge.refusal:
            status, error = edge.refusal
            self.answer(status, (), error)
            return
        told = self.ask(self._unconditional(body) if edge.ignored else self.headers.items(), body)
        if edge.to_lose:
            edge.to_lose -= 1
            self.hang_up()
        else:
            self.answer(*told)

    def _unconditional(self, body: bytes) -> Sequence[tuple[str, str]]:
        """The request's headers without the condition. It was signed with the others, so they are signed anew."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        unsigned = {*OF_A_CONNECTION, CONDITION.lower(), "authorization", "x-amz-date", "x-amz-content-sha256"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in unsigned}
        request = AWSRequest(self.command, f"http://{headers['Host']}{self.path}", headers, body)
        who = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(who, "s3", os.environ["AWS_DEFAULT_REGION"]).add_auth(request)
        return list(request.headers.items())
