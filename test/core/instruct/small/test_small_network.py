# SPDX-License-Identifier: Apache-2.0
"""The network of the small policy: what is scored is what was drawn, constraints hold, groups do not mix."""

import pytest
import torch
from torch.nn import functional as F

from robotseg_core.instruct.small import tokens as tk
from robotseg_core.instruct.small.inputs import FrameInputs
from robotseg_core.instruct.small.network import NetworkConfig, SmallNetwork
from robotseg_core.instruct.small.text import batch_words, familiar, grams_of, words_of

TINY = NetworkConfig(features=8, words=32, width=24, heads=2, frame_layers=1, joint_layers=1, decoder_layers=2)
VOCABULARY = {"the": 1, "left": 2, "arm": 3}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmallNetwork(TINY).eval()


def inputs(count=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((count, 8, 24, 24), (count, 3, 96, 96), (count, 3, 48, 48), (count, 6, 48, 48))
    return FrameInputs(*(torch.rand(shape, generator=generator) for shape in shapes))


def scene_of(network, texts, rows):
    words = batch_words([words_of(text) for text in texts], VOCABULARY)
    return network.scene(network.frames(inputs())[torch.tensor(rows)], network.words(words))


def test_what_is_scored_is_what_was_drawn(network):
    scene = scene_of(network, ["the left arm", "gripper please, the small one", "x"], [0, 1, 1])
    generator = torch.Generator().manual_seed(2)
    tokens, mask, logp = network.generate(scene, 5, temperature=0.8, generator=generator)
    scored = F.log_softmax(network(scene, tokens, 5) / 0.8, -1).gather(2, tokens[..., None])[..., 0] * mask
    torch.testing.assert_close(scored, logp, atol=1e-5, rtol=1e-4)
    for row, kept in zip(tokens, mask, strict=True):
        tk.read_answer(row[kept].tolist())


def test_probabilities_of_allowed_tokens_sum_to_one(network):
    scene = scene_of(network, ["the arm"], [0])
    tokens, _, _ = network.generate(scene, 3, temperature=1.0)
    logits = network(scene, tokens, 3)
    masks, _ = tk.masks_of(tokens)
    assert bool((logits.isinf() == ~masks).all())
    torch.testing.assert_close(logits.softmax(-1).sum(-1), torch.ones(logits.shape[:2]))


def test_a_request_is_answered_alike_alone_and_among_others(network):
    alone = network.generate(scene_of(network, ["the left arm"], [1]))
    among = network.generate(scene_of(network, ["a much longer request than the other one", "the left arm"], [0, 1]))
    length = int(alone[1].sum())
    assert torch.equal(alone[0][0, :length], among[0][1, :length])


def test_words_and_picture_change_the_answer(network):
    first, other, picture = (
        network(scene_of(network, [text], [row]), torch.tensor([tk.write_answer("none")]), 1)[0, 0]
        for text, row in (("the left arm", 0), ("the right arm", 0), ("the left arm", 1))
    )
    assert not torch.allclose(first[:5], other[:5], atol=1e-6)
    assert not torch.allclose(first[:5], picture[:5], atol=1e-6)


def test_words_that_are_not_known_share_their_ngrams():
    assert set(grams_of("gripper")) & set(grams_of("grippers")) and not set(grams_of("arm")) & set(grams_of("left"))
    batch = batch_words([["the", "~arm"], ["griper"]], VOCABULARY)
    assert batch.own.tolist() == [1, 0, 0] and batch.index.tolist() == [[0, 1], [2, -1]]
    assert words_of("The LEFT arm's hand, please!") == ["the", "left", "arm's", "hand", "please"]
    assert words_of("???") == ["?"] and len(words_of("a " * 90)) == 24


def test_dropout_is_for_training_alone_and_reaches_every_layer(network):
    scene = scene_of(network, ["the left arm"], [0])
    network.drop.p = 0.5
    try:
        assert torch.equal(scene_of(network, ["the left arm"], [0]).cells, scene.cells)
        network.train()
        torch.manual_seed(0)
        assert not torch.equal(scene_of(network, ["the left arm"], [0]).cells, scene.cells)
        layers = [*network.frame, *network.joint, *network.decoder]
        assert all(layer.drop is network.drop for layer in layers)
    finally:
        network.eval()
        network.drop.p = 0.0


def test_words_that_are_not_known_are_said_with_those_that_are():
    vocabulary = {word: i for i, word in enumerate(("the", "arm", "arms", "arm's", "left", "larger", "limp"), 1)}
    said = {"the limb": "the arm", "limbs": "arms", "the limb's hand": "the arm's hand", "leftmost biggest arm":
            "left larger arm", "limp": "limp", "the tool": "the tool"}  # fmt: skip
    for text, plainer in said.items():
        assert familiar(words_of(text), vocabulary) == plainer.split()
