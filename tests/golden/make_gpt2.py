"""Writes gpt2.safetensors and gpt2.json: what transformers' GPT-2 computes with weights of chance.

pip install transformers
python tests/golden/make_gpt2.py
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
SHAPE = {"vocab_size": 13, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}
SEED = 5
GRADIENTS = ("wte.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_fc.bias")


def main() -> None:
    torch.manual_seed(SEED)
    config = transformers.GPT2Config(
        **SHAPE, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, initializer_range=0.6,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.randint(0, SHAPE["vocab_size"], (2, SHAPE["n_positions"]))
    logits = model(tokens).logits
    # Its own loss is in float32, whatever the model is.
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    greedy = model.generate(
        tokens[:1, :4], max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    tensors = {f"weight.{name}": value for name, value in named(model.state_dict().items())}
    parameters = dict(named(model.named_parameters()))
    tensors |= {f"gradient.{name}": parameters[name].grad for name in GRADIENTS}
    tensors |= {"tokens": tokens, "logits": logits.detach(), "greedy": greedy}
    tensors["loss"] = loss.detach()
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, HERE / "gpt2.safetensors")
    made = {"transformers": transformers.__version__, "torch": torch.__version__, **SHAPE}
    (HERE / "gpt2.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def named(pairs):
    """Without the prefix, and without the output matrix, which is the embedding's."""
    return [(k.removeprefix("transformer."), v) for k, v in pairs if not k.startswith("lm_head")]


if __name__ == "__main__":
    main()
