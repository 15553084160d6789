"""Llama and Mistral: rotary halves interleaved inside heads."""
from families import attention, base, case, ends, mlp, norms


def tensors(c, prefix="model.", head=True):
    out = ends(c, prefix, head)
    for i in range(c["num_hidden_layers"]):
        out += norms(c, i, prefix) + attention(c, i, prefix) + mlp(f"{prefix}layers.{i}.mlp.", c["hidden_size"], c["intermediate_size"])
    return out


MISTRAL = base("MistralForCausalLM", "mistral", head_dim=16, sliding_window=None)
CASES = {"mistral": case(MISTRAL, tensors(MISTRAL))}
