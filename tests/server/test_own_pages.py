"""The server of `make ui` answers its own address and pages alone, before anything else of it sees a request."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from tasks.server.ui import OwnPages

PORT = 4200
SOCKET = f"ws://127.0.0.1:{PORT}/s"


async def _listen(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


def client() -> TestClient:
    """Return a client of an app that is guarded."""
    page = Route("/", lambda _: PlainTextResponse("here"), methods=["GET", "POST"])
    app = Starlette(routes=[page, WebSocketRoute("/s", _listen)])
    return TestClient(OwnPages(app), base_url=f"http://127.0.0.1:{PORT}")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": f"http://127.0.0.1:{PORT}"}, 200),
        ({"Host": f"localhost:{PORT}", "Origin": f"http://localhost:{PORT}"}, 200),
        ({"Host": f"elsewhere.example:{PORT}"}, 403),  # a name that was made to mean this machine
        ({"Host": "elsewhere.example"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": f"https://127.0.0.1:{PORT}"}, 403),
        ({"Origin": f"http://127.0.0.1:{PORT}.example"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_server_answers_its_own_address_and_pages_alone(headers: dict[str, str], status: int, method: str) -> None:
    answer = client().request(method, "/", headers=headers)
    assert answer.status_code == status
    assert status != 200 or answer.headers["x-frame-options"] == "DENY"  # nobody else's page can show it in a frame


def test_a_web_socket_of_another_page_is_refused() -> None:
    with client().websocket_connect(SOCKET, headers={"origin": f"http://127.0.0.1:{PORT}"}):
        pass
    elsewhere = {"origin": "http://elsewhere.example"}
    with pytest.raises(WebSocketDenialResponse) as refused, client().websocket_connect(SOCKET, headers=elsewhere):
        pass
    assert refused.value.status_code == 403
