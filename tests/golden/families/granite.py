"""Granite, plain and with experts."""
from families import attention, base, case, ends, mlp, new_style, norms

PLAIN = base("GraniteForCausalLM", "granite", attention_multiplier=0.0078125, embedding_multiplier=12, residual_multiplier=0.22, logits_scaling=8.0, rope_scaling=None,
             tie_word_embeddings=True, attention_bias=False, mlp_bias=False)
# a size of heads is not looked at
NEW = new_style({**PLAIN, "head_dim": 16, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "residual_multiplier": 0.0})
MOE = {**PLAIN, "architectures": ["GraniteMoeForCausalLM"], "model_type": "granitemoe", "num_local_experts": 3, "num_experts_per_tok": 2}
SHARED = new_style({**MOE, "architectures": ["GraniteMoeSharedForCausalLM"], "model_type": "granitemoeshared", "shared_intermediate_size": 24})


def tensors(c, bias=False, head=False):
    h, f, out = c["hidden_size"], c["intermediate_size"], ends(c, head=head)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out += norms(c, i) + attention({**c, "head_dim": 8}, i, bias="qkvo" if bias else "")
        out += mlp(p + "mlp.", h, f) + [(name.replace("weight", "bias"), shape[:1]) for name, shape in mlp(p + "mlp.", h, f) if bias]
    return out


def mixture(c, shared=0):
    h, f, e, out = c["hidden_size"], c["intermediate_size"], c["num_local_experts"], ends(c, head=False)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out += norms(c, i) + attention(c, i) + [(p + "block_sparse_moe.input_linear.weight", (e, 2 * f, h)), (p + "block_sparse_moe.output_linear.weight", (e, h, f)),
                                                (p + "block_sparse_moe.router.layer.weight", (e, h))]
        if shared:
            out += [(p + "shared_mlp.input_linear.weight", (2 * shared, h)), (p + "shared_mlp.output_linear.weight", (h, shared))]
    return out


CASES = {"granite": case(PLAIN, tensors(PLAIN), pre="dbrx"), "granite_new": case(NEW, tensors(NEW, bias=True, head=True), pre="dbrx"),
         "granite_moe": case(MOE, mixture(MOE), pre="dbrx"), "granite_moe_shared_new": case(SHARED, mixture(SHARED, 24), pre="dbrx")}
