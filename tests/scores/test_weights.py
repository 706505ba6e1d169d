"""Finding and downloading weights: verified, atomic, once for all processes; over a server on the loopback."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standin_networks import write_graph

from degas_ray.errors import DegasWarning, InputError
from degas_ray.scores import extractors, load_extractor
from degas_ray.scores.extractors import WeightsFile, find

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves one body; counts what it is asked for."""

    def __init__(self) -> None:
        self.body, self.promised, self.requests = CONTENT, len(CONTENT), 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(outer.promised))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: object) -> None:
                """Stay quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/weights.pt"


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.http.shutdown()
    served.http.server_close()
    thread.join()


def wanted(server: Server, *elsewhere: Path) -> WeightsFile:
    return WeightsFile("weights.pt", server.url, SHA256, elsewhere)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_download_is_whole_and_happens_once(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = find(wanted(server), cache)
    assert path == cache / "weights.pt"
    assert path.read_bytes() == CONTENT
    assert find(wanted(server), cache) == path
    assert server.requests == 1
    assert left(cache) == ["weights.pt"]


def test_many_at_once_download_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        paths = set(pool.map(lambda _: find(wanted(server), tmp_path), range(6)))
    assert len(paths) == 1
    assert server.requests == 1


def test_a_broken_transfer_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.body = CONTENT[:1000]  # and then the connection closes
    with pytest.raises(InputError) as caught:
        find(wanted(server), tmp_path)
    assert left(tmp_path) == []
    message = str(caught.value)
    for part in (server.url, str(tmp_path / "weights.pt"), SHA256, "scores.weights=", "efficientnet-lite0"):
        assert part in message


def test_another_file_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.body = CONTENT[::-1]
    with pytest.raises(InputError, match=f"1,280,000 bytes that are not weights.pt.*expected {SHA256[:16]}"):
        find(wanted(server), tmp_path)
    assert left(tmp_path) == []


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    nowhere = WeightsFile("weights.pt", "http://127.0.0.1:9/weights.pt", SHA256)  # the discard port: nobody listens
    with pytest.raises(InputError, match=r"cannot download http://127\.0\.0\.1:9/.*refused\. Put weights\.pt"):
        find(nowhere, tmp_path)


def test_a_copy_elsewhere_saves_the_download(server: Server, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.pt"
    place.write_bytes(CONTENT)
    assert find(wanted(server, tmp_path / "absent.pt", place), tmp_path / "cache") == place
    assert server.requests == 0


def test_a_damaged_copy_elsewhere_is_named_and_passed_over(server: Server, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.pt"
    place.write_bytes(CONTENT[:-1])
    with pytest.warns(DegasWarning, match=r"elsewhere\.pt is not the published weights\.pt"):
        path = find(wanted(server, place), tmp_path / "cache")
    assert path.read_bytes() == CONTENT


def test_a_damaged_cache_is_never_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"weights\.pt is damaged.*delete it and it will be downloaded again"):
        find(wanted(server), tmp_path)
    assert server.requests == 0


def test_inception_comes_through_the_same_road(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write_graph(tmp_path / "graph.pt")
    server.body = (tmp_path / "graph.pt").read_bytes()
    server.promised = len(server.body)
    monkeypatch.setattr(extractors, "INCEPTION", WeightsFile("inception-2015-12-05.pt", server.url, digest))
    extractor = load_extractor("inception", tmp_path / "cache")
    assert extractor.weights_hash == digest[:16]
    assert (tmp_path / "cache" / "extractors" / "inception-2015-12-05.pt").is_file()
    load_extractor("inception", tmp_path / "cache")
    assert server.requests == 1
