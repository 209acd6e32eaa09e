# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_base import TINY

from robotseg_core.config import BASE
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.parity import command as parity
from robotseg_core.parity.command import Parity
from robotseg_core.parity.items import output_item
from robotseg_core.parity.runs import DEFAULT_PROMPTS, Prompts, drive, parse_run, tipping_changes
from robotseg_core.weights.seeded import golden_tensor

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT.parent / "shared" / "reference"
needs_reference = pytest.mark.skipif(
    not (REFERENCE / "goldens.npz").is_file(), reason="the golden data of the reference (../shared/reference) is absent"
)

ITEMS = (
    "ious all_ious4 all_logits4_s16 chosen multimask rpg_tokens sparse logits_s4_f16 logits_s16_f32 mask_bits "
    "logits_stats obj_ptr object_score maskmem_s2 maskmem_stats"
).split()
MEMORY_ITEMS = (
    "ma_out_tokens structure_s16 structure_s128 edges_small num_obj_ptr_tokens memory_len memory_pos_s512 "
    "memory_pos_ptr ma_out_tokens_s32"
).split()


def test_run_names() -> None:
    run = parse_run("seed12_bb_arm_fp32_stream")
    assert run is not None and (run.mode, run.part, run.seed, run.official) == ("bb", 0, 12, False)
    run = parse_run("auto_gripper_bf16_official")
    assert run is not None and (run.part, run.memory_dtype, run.official) == (1, torch.bfloat16, True)
    run = parse_run("seed3_fill8_dark_auto_robot_fp32_stream")
    assert run is not None and run.variants == {"fill8", "dark"} and run.seed == 3
    assert parse_run("enc") is None and parse_run("auto_leg_fp32_stream") is None


def test_a_tipping_change_tips_its_pixel_alone() -> None:
    torch.manual_seed(0)
    logits = torch.randn(16, 16)
    large = torch.nn.functional.interpolate(logits[None, None], (64, 64), mode="bilinear")[0, 0]
    logits[5:7, 5:7] -= large[23, 24] - 3e-7
    large = torch.nn.functional.interpolate(logits[None, None], (64, 64), mode="bilinear")[0, 0]
    (value, change), *_ = tipping_changes(logits, 64)
    tipped = torch.nn.functional.interpolate((logits + change)[None, None], (64, 64), mode="bilinear")[0, 0]
    assert value < 1e-6 and ((tipped > 0) != (large > 0)).nonzero().tolist() == [[23, 24]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Inputs and goldens of another video, size and seed, recorded from the small model itself."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(5)
    mask = np.zeros((256, 256), np.uint8)
    mask[60:170, 90:200] = 1
    inputs = {
        "frames_u8": rng.integers(0, 256, (6, 90, 140, 3), dtype=np.uint8),
        "mask256_bits": np.packbits(mask),
    }
    names = ["3c_robot", "mask_robot", "oi_robot", "reprompt_robot", "seed9_1c_arm"]
    names += ["fill8_dark_auto_gripper", "absent_hyper8_bb_robot"]
    names = [f"{name}_fp32_stream" for name in names] + ["auto_robot_bf16_official"]
    goldens: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        source = Parity(inputs, {}, DEFAULT_PROMPTS, config=TINY, seed=77)
        for name in names:
            run = parse_run(name)
            assert run is not None
            source._load(run)
            steps = drive(
                source.model,
                run,
                count=6 if run.mode in ("oi", "reprompt") else 3,
                frame=lambda index, dark="dark" in name: source._frame(index, dark=dark),
                mask=torch.from_numpy(mask),
                prompts=DEFAULT_PROMPTS,
                video_length=6,
            )
            for tag, output, frame in steps:
                for item in ITEMS + MEMORY_ITEMS:
                    try:
                        array = output_item(item, source.model, output, frame)
                    except KeyError:
                        continue
                    goldens[f"{name}/{tag}/{item}"] = array.astype(np.float16) if item.endswith("f16") else array
    np.savez(folder / "I.npz", **inputs)
    np.savez(folder / "G.npz", **goldens)
    return folder / "I.npz", folder / "G.npz"


def run_main(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, *more: str, goldens: Path | None = None) -> int:
    monkeypatch.setattr(parity, "BASE", TINY)
    inputs, recorded = made
    return parity.main(["--inputs", str(inputs), "--goldens", str(goldens or recorded), *more])


def test_goldens_of_another_video_and_seed_pass(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(made, monkeypatch, "--weights-seed", "77") == 0
    out = capsys.readouterr().out
    assert "all 7 runs passed" in out and "bf16" not in out
    assert "oi_robot_fp32_stream" in out and "memory_pos_ptr" in out and "FAILED" not in out


def test_runs_can_be_named(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(made, monkeypatch, "--weights-seed", "77", "--run", "auto_robot_bf16_official") == 0
    with pytest.raises(SystemExit):
        run_main(made, monkeypatch, "--run", "auto_nobody_fp32_stream")


def test_other_weights_fail(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(made, monkeypatch, "--weights-seed", "78", "--run", "3c_robot_fp32_stream") == 1


@pytest.mark.parametrize("change", ["nan", "shape", "value", "unknown", "frame"])
def test_every_kind_of_difference_fails(
    made: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    name = "mask_robot_fp32_stream"
    with np.load(made[1]) as loaded:
        arrays = {key: loaded[key] for key in loaded.files if key.startswith(name)}
    key = f"{name}/f2/obj_ptr"
    if change == "nan":
        arrays[key] = np.full_like(arrays[key], np.nan)
    elif change == "shape":
        arrays[key] = arrays[key][:-1]
    elif change == "value":
        arrays[key][3] += 2e-4
    elif change == "unknown":
        arrays[f"{name}/f2/surprise"] = arrays[key]
    else:
        arrays[f"{name}/f2call7/obj_ptr"] = arrays[key]
    np.savez(tmp_path / "G.npz", **arrays)
    assert run_main(made, monkeypatch, "--weights-seed", "77", goldens=tmp_path / "G.npz") == 1
    assert "FAILED" in capsys.readouterr().out


@needs_reference
def test_state_dict_is_that_of_the_official_checkpoint() -> None:
    keys = json.loads((REFERENCE / "keys.json").read_text())["keys"]
    with torch.device("meta"):
        state = RobotSegModel(BASE).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == {k: v["shape"] for k, v in keys.items()}


@needs_reference
def test_golden_weight_rule() -> None:
    known = json.loads((REFERENCE / "weights_check.json").read_text())["tensors"]
    # All but the large ones, to save time.
    for key, row in ((key, row) for key, row in known.items() if np.prod(row["shape"]) < 70_000):
        values = golden_tensor(key, tuple(row["shape"]), 10).double()
        assert values.flatten()[:3].tolist() == pytest.approx(row["first"], abs=1e-7), key
        assert values.square().sum().item() == pytest.approx(row["sumsq"], rel=1e-6), key


@needs_reference
def test_built_in_prompts_are_those_of_the_golden_data() -> None:
    assert Prompts.read(REFERENCE / "prompts.json") == DEFAULT_PROMPTS


@needs_reference
@pytest.mark.parametrize("names", [["prompt", "enc", "hyper8_bb_robot_fp32_stream"]])
def test_the_base_model_computes_what_the_reference_computes(names: list[str]) -> None:
    """The shortest runs that pass through every module; ``make parity`` does them all."""
    with np.load(REFERENCE / "inputs.npz") as inputs, np.load(REFERENCE / "goldens.npz") as goldens:
        chosen = {key: goldens[key] for key in goldens.files if key.split("/")[0] in names}
        # One frame of the encoder is enough here.
        chosen = {key: value for key, value in chosen.items() if not key.startswith("enc/f1/")}
        check = Parity(dict(inputs), chosen, Prompts.read(REFERENCE / "prompts.json"))
    with torch.inference_mode():
        rows = [row for name in check.runs(names) for row in check.check(name)]
    assert [row for row in rows if not row.passed] == []
    assert len(rows) > 30
