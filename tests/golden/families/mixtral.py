"""Mixtral: experts as tensors of their own, in two files that part a layer."""
from families import attention, base, case, ends, new_style, norms


def tensors(c):
    out = ends(c)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}.block_sparse_moe."
        out += norms(c, i) + attention(c, i) + [(p + "gate.weight", (c["num_local_experts"], c["hidden_size"]))]
        for e in range(c["num_local_experts"]):
            up, down = (c["intermediate_size"], c["hidden_size"]), (c["hidden_size"], c["intermediate_size"])
            out += [(f"{p}experts.{e}.w1.weight", up), (f"{p}experts.{e}.w2.weight", down), (f"{p}experts.{e}.w3.weight", up)]
    return out


CONFIG = base("MixtralForCausalLM", "mixtral", num_local_experts=3, num_experts_per_tok=2, rope_theta=1000000.0, sliding_window=None,
              router_aux_loss_coef=0.02)
TENSORS = tensors(CONFIG)
HALF = len(TENSORS) // 2 + 3
# twelve experts: their names in byte order are not their order
MANY = new_style({**CONFIG, "num_local_experts": 12, "num_hidden_layers": 1, "intermediate_size": 8, "head_dim": 8})
CASES = {"mixtral": case(CONFIG, TENSORS[:HALF], TENSORS[HALF:]), "mixtral_12_experts": case(MANY, tensors(MANY))}
