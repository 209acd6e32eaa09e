# SPDX-License-Identifier: Apache-2.0
"""An independent witness: what RobotSeg shares with SAM 2.1 against the Sam2 video model of ``transformers``."""

import dataclasses
import functools
import re

import pytest
import torch
from torch import Tensor

from robotseg_core.config import BASE
from robotseg_core.model.mask_decoder import Candidates
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights.seeded import load_golden_weights

transformers = pytest.importorskip("transformers", reason="the witness of the SAM 2 parts is the package transformers")

SIZE, GRID = 256, 16
GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
# Its name -> ours, first match; MLP heads need their numbers shifted.
RULES = [
    (r"^shared_image_embedding\.positional_embedding$", GAUSSIAN),
    (r"^prompt_encoder\.shared_embedding\.positional_embedding$", GAUSSIAN),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^vision_encoder\.backbone\.patch_embed\.projection\.", "image_encoder.trunk.patch_embed.proj."),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "sam_prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "sam_prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "sam_prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "sam_prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "sam_prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.upscale_conv1\.", "sam_mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "sam_mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "sam_mask_decoder.output_upscaling.3."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"^memory_encoder\.mask_downsampler\.final_conv\.", "memory_encoder.mask_downsampler.encoder.12."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
]
PARTS = [
    ("o_proj.", "out_proj."),
    ("layer_norm_final_attn.", "norm_final_attn."),
    (".depthwise_conv.", ".dwconv."),
    (".pointwise_conv", ".pwconv"),
    (".scale", ".gamma"),
]


def our_name(name: str) -> str:
    head = "iou_prediction_head" in name or "pred_obj_score_head" in name or "hypernetworks" in name
    if head or name.startswith("object_pointer_proj"):
        name = re.sub(r"\.layers\.0\.", ".layers.1.", name)
        name = name.replace(".proj_in.", ".layers.0.").replace(".proj_out.", ".layers.2.")
    name = name.replace(".proj_in.", ".layers.0.").replace(".proj_out.", ".layers.1.")
    layer = re.match(r"memory_encoder\.mask_downsampler\.layers\.(\d)\.(conv|layer_norm)\.(.*)", name)
    if layer:
        return f"memory_encoder.mask_downsampler.encoder.{3 * int(layer[1]) + (layer[2] != 'conv')}.{layer[3]}"
    for pattern, ours in RULES:
        name, count = re.subn(pattern, ours, name)
        if count:
            break
    for theirs, ours in PARTS:
        name = name.replace(theirs, ours)
    return re.sub(r"(?<![a-z_])layer_norm(\d?)\.", r"norm\1.", name)


@pytest.fixture(scope="module")
def ours() -> RobotSegModel:
    model = RobotSegModel(dataclasses.replace(BASE, image_size=SIZE)).eval()
    load_golden_weights(model, 5)
    with torch.no_grad():
        for layer in model.memory_attention.layers:
            layer.structure_strength.zero_()  # SAM 2 has no structure branch
    return model


@pytest.fixture(scope="module")
def theirs(ours: RobotSegModel) -> torch.nn.Module:
    config = transformers.Sam2VideoConfig(
        image_size=SIZE,
        memory_attention_rope_feat_sizes=[GRID, GRID],
        prompt_encoder_config={"image_size": SIZE},
        vision_config={"backbone_feature_sizes": [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2]},
    )
    model = transformers.Sam2VideoModel(config).eval()
    state = ours.state_dict()
    points = torch.cat([state[f"sam_prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)])
    state["sam_prompt_encoder.point_embed.weight"] = points
    model.load_state_dict({name: state[our_name(name)] for name in model.state_dict()})
    return model


@pytest.fixture(autouse=True)
def inference() -> None:
    torch.manual_seed(1)
    with torch.inference_mode():
        yield


def close(a: Tensor, b: Tensor) -> None:
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def test_every_shared_weight_has_its_place(ours: RobotSegModel, theirs: torch.nn.Module) -> None:
    names = {our_name(name) for name in theirs.state_dict()}
    rest = {name for name in ours.state_dict() if name not in names and "point_embeddings" not in name}
    robot = re.compile(r"cross_attn_structure|ms_pyramid|structure_|robot_")
    assert all(robot.search(name) for name in rest)
    assert len(rest) == 114


def test_image_encoder(ours: RobotSegModel, theirs: torch.nn.Module) -> None:
    image = torch.randn(1, 3, SIZE, SIZE)
    maps = theirs.vision_encoder(image).fpn_hidden_states
    for a, b in zip(ours.image_encoder(image), maps, strict=True):
        close(a, b)


def test_prompt_encoder(ours: RobotSegModel, theirs: torch.nn.Module) -> None:
    coords = torch.tensor([[30.0, 40.5], [200.25, 100.0], [10.0, 250.0]])
    labels = torch.tensor([2, 3, 0])
    sparse, _ = theirs.prompt_encoder(coords[None, None], labels[None, None], None, None)
    close(ours.sam_prompt_encoder.points(coords[None], labels[None]), sparse[:, 0])
    mask = 5 * torch.randn(1, 1, 4 * GRID, 4 * GRID)
    _, dense = theirs.prompt_encoder(None, None, None, mask)
    close(ours.sam_prompt_encoder.dense(1, mask), tokens(dense))
    position = theirs.get_image_wide_positional_embeddings()
    close(ours.sam_prompt_encoder.dense_pe()[None], tokens(position))


@pytest.mark.parametrize("multimask", [True, False])
def test_mask_decoder(ours: RobotSegModel, theirs: torch.nn.Module, multimask: bool) -> None:
    image = torch.randn(1, 256, GRID, GRID)
    high = torch.randn(1, 32, 4 * GRID, 4 * GRID), torch.randn(1, 64, 2 * GRID, 2 * GRID)
    sparse = ours.sam_prompt_encoder.points(torch.tensor([[[50.0, 60.0]]]), torch.tensor([[1]]))
    position = ours.sam_prompt_encoder.dense_pe()
    masks, ious, mask_tokens, score = theirs.mask_decoder(
        image_embeddings=image,
        image_positional_embeddings=position.T.unflatten(1, (GRID, GRID))[None],
        sparse_prompt_embeddings=sparse[:, None],
        dense_prompt_embeddings=torch.zeros_like(image),
        multimask_output=multimask,
        high_resolution_features=list(high),
    )
    found: Candidates = ours.sam_mask_decoder(tokens(image), position, sparse, high, part=None, object_tokens=None)
    close(found.object_logit, score.flatten())
    if multimask:
        close(found.logits[:, 1:], masks[:, 0])
        close(found.ious[:, 1:], ious[:, 0])
        close(found.tokens[:, 1:], mask_tokens[:, 0])
    else:
        choice = ours.choose(dataclasses.replace(found, object_logit=torch.ones(1)), multimask=False)
        close(choice.logits, masks[:, 0, 0])
        close(choice.iou, ious[:, 0, 0])


def test_memory_encoder(ours: RobotSegModel, theirs: torch.nn.Module) -> None:
    features, mask = torch.randn(1, 256, GRID, GRID), torch.rand(1, 1, SIZE, SIZE)
    memory, position = theirs.memory_encoder(features, mask * 20 - 10)
    close(ours.memory_encoder(features, mask), tokens(memory))
    close(ours.memory_position[None], tokens(position))


def test_memory_attention_without_the_structure_branch(ours: RobotSegModel, theirs: torch.nn.Module) -> None:
    frames, pointers, cells = 3, 8, GRID * GRID
    length = frames * cells + pointers
    frame, memory, codes = torch.randn(1, cells, 256), torch.randn(1, length, 64), torch.randn(1, length, 64)
    out = theirs.memory_attention(
        current_vision_features=frame.transpose(0, 1),
        current_vision_position_embeddings=ours.memory_attention.position[None].transpose(0, 1),
        memory=memory.transpose(0, 1),
        memory_posision_embeddings=codes.transpose(0, 1),
        num_object_pointer_tokens=pointers,
    )
    edge = torch.zeros(1, 1, GRID, GRID)
    keyed, attention = memory + codes, ours.memory_attention
    spatial = attention.frame_keys(keyed[:, :-pointers].unflatten(1, (frames, cells))).flatten(2, 3)
    rest = [lookup.k_proj(keyed[:, -pointers:]) for lookup in attention.lookups]
    keys = [functools.partial(torch.cat, pair, 1) for pair in zip(spatial, rest, strict=True)]
    found, _ = attention(frame, memory, keys, edge)
    close(found, out.reshape(1, cells, 256))


def test_object_pointer(ours: RobotSegModel, theirs: torch.nn.Module) -> None:
    token = torch.randn(2, 256)
    close(ours.obj_ptr_proj(token), theirs.object_pointer_proj(token))
