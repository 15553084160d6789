"""Qwen 2, 2.5, 2-MoE, 3 and 3-MoE."""
import json

from families import TOKENS, attention, base, case, ends, mlp, new_style, norms, tokenizer_config

# more rows than tokens, as published
ROWS = TOKENS + 3
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}


def experts(c, prefix, hidden, inner):
    out = [(prefix + "gate.weight", (c["num_experts"], hidden))]
    for e in range(c["num_experts"]):
        out += mlp(f"{prefix}experts.{e}.", hidden, inner)
    return out


def tensors(c, bias="", norm=False, head=True, sparse=lambda layer: False, shared=None):
    h, out = c["hidden_size"], ends(c, head=head)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}.mlp."
        out += norms(c, i) + attention(c, i, bias=bias, norm=norm)
        out += experts(c, p, h, c["moe_intermediate_size"]) if sparse(i) else mlp(p, h, c["intermediate_size"])
        if sparse(i) and shared:
            out += mlp(p + "shared_expert.", h, shared) + [(p + "shared_expert_gate.weight", (1, h))]
    return out


QWEN2 = base("Qwen2ForCausalLM", "qwen2", vocab_size=ROWS, rms_norm_eps=1e-6, rope_theta=1000000.0, use_sliding_window=False, sliding_window=4096, max_window_layers=2)
TIED = new_style({**QWEN2, "tie_word_embeddings": True, "rope_scaling": YARN})
QWEN3 = base("Qwen3ForCausalLM", "qwen3", vocab_size=ROWS, rms_norm_eps=1e-6, rope_theta=1000000.0, head_dim=16, attention_bias=False, tie_word_embeddings=True,
             use_sliding_window=False, sliding_window=None, max_window_layers=2, rope_scaling=YARN)
MOE = base("Qwen3MoeForCausalLM", "qwen3_moe", vocab_size=ROWS, rms_norm_eps=1e-6, rope_theta=1000000.0, head_dim=16, num_experts=3, num_experts_per_tok=2,
           moe_intermediate_size=24, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], attention_bias=False,
           use_sliding_window=False, sliding_window=None, max_window_layers=2)
MOE_NEW = new_style({**MOE, "num_local_experts": 3})
del MOE_NEW["num_experts"]
QWEN2_MOE = base("Qwen2MoeForCausalLM", "qwen2_moe", vocab_size=ROWS, rms_norm_eps=1e-6, rope_theta=1000000.0, num_experts=3, num_experts_per_tok=2,
                 moe_intermediate_size=16, shared_expert_intermediate_size=40, norm_topk_prob=False, decoder_sparse_step=1,
                 use_sliding_window=False, sliding_window=4096, max_window_layers=2)
CLASS = tokenizer_config(tokenizer_class="Qwen2Tokenizer", unk_token="<|end_of_text|>", pad_token="<|end_of_text|>")
CASES = {"qwen2": case(QWEN2, tensors(QWEN2, bias="qkv"), files=CLASS),
         "qwen2_tied": case(TIED, tensors(TIED, bias="qkv", head=False), files=CLASS),
         "qwen3": case(QWEN3, tensors(QWEN3, norm=True, head=False)),
         "qwen3_moe": case(MOE, tensors(MOE, norm=True, sparse=lambda layer: True)),
         "qwen3_moe_new": case(MOE_NEW, tensors({**MOE_NEW, "num_experts": 3}, norm=True, sparse=lambda layer: True)),
         "qwen2_moe": case(QWEN2_MOE, tensors(QWEN2_MOE, bias="qkv", sparse=lambda layer: True, shared=40))}
# experts in stacks, as transformers 5 can write them
STACKED = [x for x in tensors(MOE, norm=True, sparse=lambda layer: True) if ".experts." not in x[0]]
STACKED += [x for i in range(2) for x in ((f"model.layers.{i}.mlp.experts.gate_up_proj", (3, 48, 32)), (f"model.layers.{i}.mlp.experts.down_proj", (3, 32, 24)))]
CASES["qwen3_moe_stacked"] = case(MOE, STACKED)
# an embedding model: names without "model.", and a file that says how outputs are pooled
EMBEDDING = {**QWEN3, "rope_scaling": None}
POOLING = {"modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                                       {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]),
           "1_Pooling/config.json": json.dumps({"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
                                                "pooling_mode_lasttoken": True})}
CASES["qwen3_embedding"] = case(EMBEDDING, [(n.removeprefix("model."), s) for n, s in tensors(EMBEDDING, norm=True, head=False)], files=POOLING)
