"""The contract model's network, which llama.cpp knows as `gemma3` (src/models/gemma3.cpp), and its training."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np  # type: ignore[import-not-found, unused-ignore]
import torch  # type: ignore[import-not-found, unused-ignore]
import torch.nn.functional as F  # type: ignore[import-not-found, unused-ignore]  # noqa: N812
from torch import nn  # type: ignore[import-not-found, unused-ignore]

from contract.model.scenes_text import Author
from contract.model.shape import EPSILON, FEED_FORWARD, HEAD, HEADS, KV_HEADS, LAYERS, ROPE_BASE, WIDTH, WINDOW
from contract.model.tokenizer import PAD, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

Tensor = Any

STEP: Final = 65_536  # tokens in one step, in rows of documents
LONG_ROW: Final = 8192
SHORT_ROW: Final = 2048  # without block-sparse attention
WARM_UP: Final = 300  # steps
COMPILING_PAYS: Final = 3  # minutes; it takes one
LONGEST_START: Final = 30_000  # documents begin at any position up to here


class Norm(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), EPSILON).type_as(x)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).type_as(x)


class Layer(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm, self.post_attention_norm = Norm(WIDTH), Norm(WIDTH)
        self.ffn_norm, self.post_ffw_norm = Norm(WIDTH), Norm(WIDTH)
        self.attn_q = nn.Linear(WIDTH, HEADS * HEAD, bias=False)
        self.attn_k = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.attn_v = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.attn_output = nn.Linear(HEADS * HEAD, WIDTH, bias=False)
        self.attn_q_norm, self.attn_k_norm = Norm(HEAD), Norm(HEAD)
        self.ffn_gate = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.ffn_up = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.ffn_down = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, length, _ = x.shape
        y = self.attn_norm(x)
        q = self.attn_q(y).view(rows, length, HEADS, HEAD).transpose(1, 2)
        k = self.attn_k(y).view(rows, length, KV_HEADS, HEAD).transpose(1, 2)
        v = self.attn_v(y).view(rows, length, KV_HEADS, HEAD).transpose(1, 2)
        return rotate(self.attn_q_norm(q), cos, sin), rotate(self.attn_k_norm(k), cos, sin), v

    def finish(self, x: Tensor, y: Tensor) -> Tensor:
        rows, length, _ = x.shape
        y = y.transpose(1, 2).reshape(rows, length, HEADS * HEAD)
        x = x + self.post_attention_norm(self.attn_output(y))
        y = self.ffn_norm(x)
        y = self.ffn_down(F.gelu(self.ffn_gate(y), approximate="tanh") * self.ffn_up(y))
        return x + self.post_ffw_norm(y)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Any) -> Tensor:
        q, k, v = self.project(x, cos, sin)
        return self.finish(x, attend(q.type_as(v), k.type_as(v), v))


class Network(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(vocabulary, WIDTH)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = Norm(WIDTH)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02 if "embd" in name else 1 / math.sqrt(weight.shape[1]))

    def forward(self, ids: Tensor, positions: Tensor, attend: Any) -> Tensor:
        """Return the final states, which the embeddings turn into logits."""
        turns = positions.float()[:, None, :, None] * ROPE_BASE ** (-torch.arange(0, HEAD, 2, device=ids.device) / HEAD)
        cos, sin = turns.cos(), turns.sin()
        x = self.token_embd(ids) * math.sqrt(WIDTH)
        for layer in self.blk:
            x = layer(x, cos, sin, attend)
        return self.output_norm(x)


# --- rows of documents ------------------------------------------------------------------------------------------


@dataclass
class Packer:
    """Fills rows with documents."""

    author: Author
    rng: random.Random
    length: int

    def row(self) -> Any:
        """Return tokens, whether the next token is learnt, document numbers and positions."""
        row = np.zeros((4, self.length), np.int32)
        row[0] = PAD
        used, number = 0, 0
        while used < self.length - 64:
            page = self.author.document()
            ids, learnt = page.ids[-self.length :], page.learnt[-self.length :]
            if len(ids) > self.length - used:
                if used > self.length * 0.85:
                    break
                ids, learnt = ids[-(self.length - used) :], learnt[-(self.length - used) :]
            number += 1
            place = slice(used, used + len(ids))
            row[0, place] = ids
            row[1, place] = [*learnt[1:], False]
            row[2, place] = number
            start = self.rng.randrange(LONGEST_START) if self.rng.random() < 0.6 else 0
            row[3, place] = np.arange(start, start + len(ids))
            used += len(ids)
        return row


def _produce(pieces: Sequence[str], seed: int, favour: Sequence[str], length: int, queue: Any) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    packer = Packer(Author(Tokenizer(pieces), rng, favour), rng, length)
    while True:
        queue.put(np.stack([packer.row() for _ in range(STEP // length)]))


# --- training ---------------------------------------------------------------------------------------------------


def _attention(flex: Any, documents: Tensor) -> Any:
    """Return attention within a document and within the window."""
    if flex is not None:

        def visible(b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (q >= k) & (q - k < WINDOW) & (documents[b, q] == documents[b, k])

        block = flex.create_block_mask(visible, documents.shape[0], None, LONG_ROW, LONG_ROW, device=documents.device)
        return lambda q, k, v: flex.attend(q, k, v, block_mask=block, enable_gqa=True)
    place = torch.arange(documents.shape[1], device=documents.device)
    near = (place[:, None] >= place) & (place[:, None] - place < WINDOW)
    mask = (near & (documents[:, :, None] == documents[:, None, :]))[:, None]
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


class _Flex:
    """Block-sparse attention, compiled: a GPU's."""

    def __init__(self) -> None:
        from torch.nn.attention import flex_attention as module  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

        self.attend = torch.compile(module.flex_attention, dynamic=False)
        self.create_block_mask = torch.compile(module.create_block_mask, dynamic=False)


def _loss(network: Any, ids: Tensor, learnt: Tensor, positions: Tensor, attend: Any) -> Tensor:
    states = network(ids, positions, attend)
    chosen = learnt.flatten().nonzero().squeeze(1)
    states = states.flatten(0, 1)[chosen]
    targets = ids.flatten().roll(-1)[chosen]
    logits = F.linear(states, network.token_embd.weight.to(states.dtype)).float()
    return F.cross_entropy(logits, targets)


def train(
    pieces: Sequence[str],
    minutes: float,
    rate: float,
    seed: int,
    start: Any = None,
    favour: Sequence[str] = (),
    save: Any = None,
) -> Any:
    """Train for so many minutes and return the weights by their names in GGUF.

    Args:
        pieces: The learnt part of the vocabulary.
        minutes: How long.
        rate: The highest learning rate.
        seed: Of weights and documents.
        start: Weights to go on from.
        favour: Scenes to show more often.
        save: Called with the weights now and then.
    """
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    compiled = device == "cuda" and minutes >= COMPILING_PAYS
    length = LONG_ROW if compiled else SHORT_ROW
    warm_up = WARM_UP if start is None else WARM_UP // 10
    queue: Any = multiprocessing.get_context("fork").Queue(24)
    workers = max((os.cpu_count() or 2) - 2, 1)
    producers = [
        multiprocessing.get_context("fork").Process(
            target=_produce, args=(pieces, seed * 1000 + number, favour, length, queue), daemon=True
        )
        for number in range(workers)
    ]
    for producer in producers:
        producer.start()
    network = Network(len(Tokenizer(pieces).tokens))
    if start is not None:
        network.load_state_dict({name: torch.tensor(weight) for name, weight in start.items()})
    network.to(device)
    matrices = [weight for weight in network.parameters() if weight.dim() > 1]
    vectors = [weight for weight in network.parameters() if weight.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
        fused=device == "cuda",
    )
    flex = _Flex() if compiled else None
    if flex:
        for layer in network.blk:
            layer.project = torch.compile(layer.project, dynamic=False)
            layer.finish = torch.compile(layer.finish, dynamic=False)
    begun = time.monotonic()
    step, seen = 0, 0
    while (passed := (time.monotonic() - begun) / 60 / minutes) < 1:
        batch = torch.tensor(queue.get(), device=device)
        ids, learnt, documents, positions = (batch[:, number].long() for number in range(4))
        pace = rate * min(1.0, (step + 1) / warm_up) * max(0.02, min(1.0, 1.25 * (1 - passed)))
        for group in optimizer.param_groups:
            group["lr"] = pace
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = _loss(network, ids, learnt.bool(), positions, _attention(flex, documents))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        seen += ids.numel()
        if step % 100 == 1:
            sys.stderr.write(
                f"step {step}, {time.monotonic() - begun:.0f} s, {seen / 1e6:.0f} M tokens, loss {loss.item():.5f}, "
                f"queue {queue.qsize()}\n"
            )
        if save and step % 1000 == 0:
            save(weights_of(network))
    for producer in producers:
        producer.kill()
    return weights_of(network)


def weights_of(network: Any) -> dict[str, Any]:
    return {name: weight.detach().float().cpu().numpy() for name, weight in network.state_dict().items()}
