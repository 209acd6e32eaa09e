# SPDX-License-Identifier: Apache-2.0
import hashlib
import http.server
import logging
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from robotseg_core.config import BASE
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights import files as weight_files
from robotseg_core.weights.files import KNOWN_FILES, WeightFile, WeightsError, download, find_weights
from robotseg_core.weights.load import ADDED_TO_SAM2, load_weights, save_safetensors


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm2d(2)
        self.robot_prompt_generator = nn.Embedding(1, 4)


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("ROBOTSEG_MODELS", str(folder))
    folder.mkdir()
    return folder


def test_safetensors_round_trip_in_half_precision(tmp_path: Path) -> None:
    a, b = Toy(), Toy()
    a.norm.num_batches_tracked.fill_(100_001)
    save_safetensors(a.state_dict(), tmp_path / "a.safetensors", {"preset": "toy"})
    report = load_weights(b, tmp_path / "a.safetensors")
    assert report.kind == "robotseg" and report.missing == () and report.metadata == {"preset": "toy"}
    assert b.linear.weight.dtype == torch.float32
    torch.testing.assert_close(b.linear.weight, a.linear.weight.half().float(), atol=0, rtol=0)
    assert b.norm.num_batches_tracked.item() == 100_001
    assert [file.name for file in tmp_path.glob("*.part")] == []


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale has values"):
        save_safetensors({"scale": torch.tensor([1e6])}, tmp_path / "a.safetensors")
    assert list(tmp_path.glob("*.safetensors")) == []


def test_official_layout_has_the_state_dict_under_model(tmp_path: Path) -> None:
    a, b = Toy(), Toy()
    torch.save({"model": a.state_dict()}, tmp_path / "robotseg.pt")
    assert load_weights(b, tmp_path / "robotseg.pt").kind == "robotseg"
    assert torch.equal(a.linear.weight, b.linear.weight)


def test_sam2_checkpoint_keeps_the_initialisation_of_the_rest_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = Toy(), Toy()
    before = b.robot_prompt_generator.weight.clone()
    state = {key: value for key, value in a.state_dict().items() if not key.startswith("robot_")}
    torch.save({"model": state}, tmp_path / "sam.pt")
    with caplog.at_level(logging.WARNING):
        report = load_weights(b, tmp_path / "sam.pt")
    assert report.kind == "sam2" and report.missing == ("robot_prompt_generator.weight",)
    assert torch.equal(b.robot_prompt_generator.weight, before) and torch.equal(b.linear.bias, a.linear.bias)
    assert "robot_prompt_generator.weight" in caplog.text


def test_missing_and_unexpected_keys_are_named(tmp_path: Path) -> None:
    state = Toy().state_dict()
    state["surplus"] = state.pop("linear.bias")
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"1 missing keys \(linear.bias\), 1 unexpected \(surplus\)"):
        load_weights(Toy(), tmp_path / "a.pt")
    report = load_weights(Toy(), tmp_path / "a.pt", allow_partial=True)
    assert (report.kind, report.missing, report.unexpected) == ("partial", ("linear.bias",), ("surplus",))


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    state = Toy().state_dict()
    state["linear.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"linear.bias: \(5,\) in the file, \(2,\) in the model"):
        load_weights(Toy(), tmp_path / "a.pt")


class Malicious:
    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


@pytest.mark.parametrize("writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_pickles_that_run_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], writer) -> None:
    writer({"model": {"linear.weight": Malicious()}}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="refused"):
        load_weights(Toy(), tmp_path / "evil.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{nonsense", b"\x80\x02garbage"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(Toy(), tmp_path / "a.pt")


def test_hashes_beside_the_file_are_verified(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_safetensors(Toy().state_dict(), path)
    assert not load_weights(Toy(), path).sha256_verified
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  a.safetensors\n")
    assert load_weights(Toy(), path).sha256_verified
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.safetensors\n")
    with pytest.raises(WeightsError, match=f"{digest}, expected 0000"):
        load_weights(Toy(), path)


def test_absent_files_say_how_to_obtain_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="download robotseg.pt by hand from https://github.com/showlab/RobotSeg"):
        find_weights("base")
    with pytest.raises(WeightsError, match="robotseg fetch sam2.1_hiera_tiny.pt.*Apache-2.0"):
        find_weights("sam2.1_hiera_tiny.pt")
    with pytest.raises(WeightsError, match="no weight file .*x.safetensors; presets are nano, base"):
        find_weights(tmp_path / "x.safetensors")


def test_presets_are_found_in_the_models_folder(models: Path) -> None:
    torch.save({"model": Toy().state_dict()}, models / "robotseg.pt")
    assert find_weights("base") == models / "robotseg.pt"


@pytest.mark.parametrize("site", ["lib/python3.12/site-packages", "local/lib/python3.12/dist-packages"])
def test_installed_weights_are_found_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    monkeypatch.setattr(weight_files, "__file__", str(tmp_path / site / "robotseg_core" / "weight_files.py"))
    # This environment has the shipped weights installed: look from another one.
    monkeypatch.setattr(weight_files.sysconfig, "get_path", lambda _: str(tmp_path / "elsewhere"))
    shared = tmp_path / "share" / "robotseg_ros" / "models"
    shared.mkdir(parents=True)
    (shared / "nano.safetensors").touch()
    assert find_weights("nano") == shared / "nano.safetensors"


CONTENT = bytes(range(256)) * 9000


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/weights.bin":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def known(url: str, **changes: object) -> WeightFile:
    values = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)} | changes
    return WeightFile(filename="weights.bin", licence="Apache-2.0", page="page", url=url, **values)


def test_download_checks_and_names_the_file(server: str, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[int, int | None]] = []
    with caplog.at_level(logging.WARNING):
        path = download(known(f"{server}/weights.bin"), progress=lambda done, total: seen.append((done, total)))
    assert path == models / "weights.bin" and path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 1
    assert "Apache-2.0" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"size": 17}, "expected 17"),
        ({"url": "absent.bin"}, "404"),
    ],
)
def test_failed_downloads_leave_nothing(server: str, models: Path, changes: dict, message: str) -> None:
    url = f"{server}/{changes.pop('url', 'weights.bin')}"
    with pytest.raises(WeightsError, match=message):
        download(known(url, **changes))
    assert list(models.iterdir()) == []


def test_unreachable_server_is_a_clear_error() -> None:
    with pytest.raises(WeightsError, match="cannot fetch http://127.0.0.1:9"):
        download(known("http://127.0.0.1:9/weights.bin"))


def test_files_for_people_only_are_not_fetched() -> None:
    with pytest.raises(WeightsError, match="by hand"):
        download(KNOWN_FILES["robotseg.pt"])


def test_fetch_command(server: str, models: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(KNOWN_FILES, "weights.bin", known(f"{server}/weights.bin"))
    assert weight_files.main(["weights.bin"]) == 0
    assert (models / "weights.bin").read_bytes() == CONTENT
    assert str(models / "weights.bin") in capsys.readouterr().out
    assert weight_files.main(["robotseg.pt"]) == 2
    assert "by hand" in capsys.readouterr().err


def test_what_robotseg_adds_to_sam2_is_known_exactly() -> None:
    with torch.device("meta"):
        keys = list(RobotSegModel(BASE).state_dict())
    assert len(keys) == 585
    assert sum(bool(ADDED_TO_SAM2.match(key)) for key in keys) == 114


def test_every_preset_has_a_known_file() -> None:
    assert set(weight_files.PRESET_FILES.values()) <= set(KNOWN_FILES)
