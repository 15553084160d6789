"""Llama and Mistral: rotary halves interleaved inside heads."""
from families import REMOVED, attention, base, case, ends, mlp, norms


def tensors(c, prefix="model.", head=True, bias=False):
    out = ends(c, prefix, head)
    for i in range(c["num_hidden_layers"]):
        matrices = mlp(f"{prefix}layers.{i}.mlp.", c["hidden_size"], c["intermediate_size"])
        out += norms(c, i, prefix) + attention(c, i, prefix, bias="qkvo" if bias else "") + matrices
        out += [(name.replace("weight", "bias"), shape[:1]) for name, shape in matrices if bias]
    return out


MISTRAL = base("MistralForCausalLM", "mistral", head_dim=16, sliding_window=None)
# as the first conversions of Llama are named; positions stretched, biases, no number of key and value heads
LLAMA = base("LLaMAForCausalLM", "llama", num_key_value_heads=REMOVED, rope_scaling={"type": "linear", "factor": 4.0}, attention_bias=True, mlp_bias=True,
             tie_word_embeddings=REMOVED)
CASES = {"mistral": case(MISTRAL, tensors(MISTRAL)), "llama": case(LLAMA, tensors(LLAMA, bias=True))}
