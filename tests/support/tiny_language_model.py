"""A language model of two layers that has learnt to answer one prompt, and transformers' server, which serves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from connector.simulation.processes import free_port
from support.waiting import until

TEMPLATE = "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + '\n' }}{% endfor %}assistant : "
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]


def build(folder: Path, conversations: Sequence[tuple[Sequence[Mapping[str, Any]], str]], steps: int = 60) -> Path:
    """Writes a model that gives the answers in `conversations`, and what it makes of others, to `folder`."""
    answers = sorted({answer for _, answer in conversations})
    split = pre_tokenizers.Whitespace()
    texts = [message["content"] for messages, _ in conversations for message in messages]
    words = sorted(
        {word for text in texts for word, _ in split.pre_tokenize_str(text)} | {"system", "user", "assistant"}
    )
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate([*SPECIAL, *words])}, "<unk>"))
    tokenizer.pre_tokenizer = split
    # An answer is one token, as if a grammar had been compiled into the vocabulary.
    tokenizer.add_tokens([AddedToken(answer, normalized=False) for answer in answers])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(fast),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=4096,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
        )
        model = LlamaForCausalLM(config)
        _train(model, fast, conversations, steps)
    model.save_pretrained(folder)
    return folder


def _train(model: Any, tokenizer: Any, conversations: Sequence[tuple[Sequence[Any], str]], steps: int) -> None:
    prompts = [tokenizer.apply_chat_template(list(messages), tokenize=False) for messages, _ in conversations]
    rows = [
        tokenizer(prompt + answer)["input_ids"] + [2]
        for prompt, (_, answer) in zip(prompts, conversations, strict=True)
    ]
    longest = max(map(len, rows))
    ids = torch.tensor([[3] * (longest - len(row)) + row for row in rows])
    mask = (ids != 3).long()
    targets = torch.full_like(ids, -100)
    targets[:, -2:] = ids[:, -2:]  # the answer, and its end
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=mask, labels=targets).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@contextmanager
def transformers_serve(folder: Path) -> Iterator[str]:
    """Runs `transformers serve` with the model in `folder`. Gives its OpenAI-compatible address."""
    port = free_port()
    program = Path(sys.executable).parent / "transformers"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    command = [str(program), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: _answers(server, port, folder))
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def _answers(server: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    assert server.poll() is None, (folder / "serve.log").read_text()
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
        except requests.ConnectionError:
            return False


def answer(name: str, label: str) -> str:
    """The answer of a model to one question."""
    return json.dumps({name: label})
