"""The Prefect server of `make ui`, for this machine's own pages alone.

In: requests to a port of 127.0.0.1, which any page in the user's browser can send too. Out: Prefect's answers to its
own pages and to programs, and refusals to all others, since who can start a run can have the worker run any command.
Prefect's setting for foreign pages (CORS) keeps answers from them, but it stops neither requests that need no leave,
nor web sockets, nor pages of a host whose name was made to mean this machine.
"""

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOSTS = ("127.0.0.1", "localhost")


class OwnPages:
    """Passes on what the server's own pages and programs ask, and refuses what other pages do."""

    def __init__(self, app: ASGIApp) -> None:
        """Take what answers."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or web socket."""
        if scope["type"] == "lifespan" or _is_own(scope):
            await self._app(scope, receive, send)
            return
        # To a web socket that was not accepted this is an answer too.
        refusal = PlainTextResponse("This server answers its own pages alone: open it by its own address.", 403)
        await refusal(scope, receive, send)


def _is_own(scope: Scope) -> bool:
    """Tell whether a request names this server by its own address, and comes from its own page or from a program."""
    headers = Headers(scope=scope)
    port = scope["server"][1]
    addresses = [f"{host}:{port}" for host in _HOSTS]
    origin = headers.get("origin")  # which programs do not send, and pages cannot choose
    return headers.get("host") in addresses and origin in (None, *(f"http://{address}" for address in addresses))


def create_app() -> FastAPI:
    """Return the server, to be run by uvicorn on one port of this machine."""
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    app.add_middleware(OwnPages)  # outermost: before Prefect's own, which answers foreign pages' questions for leave
    return app
