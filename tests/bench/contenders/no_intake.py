"""The floor of the intake: the same server, which reads each body and answers 201 with nothing done."""

import sys
from typing import Any, Final

import uvicorn

_BODY: Final = b'{"report_id":"b-0","case_id":"610117001001001-aaaaaaaaaa","code":"AAAAAA"}'
_HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


async def answer(_: Any, receive: Any, send: Any) -> None:
    """Answer one request."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def main(host: str, port: int) -> None:
    """Serve until SIGTERM."""
    uvicorn.run(answer, host=host, port=port, log_config=None, access_log=False, lifespan="off")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
