"""GLM-4 of 2024, GLM-4-0414 and GLM-4.5."""
import json

from families import REMOVED, attention, base, case, ends, mlp, new_style, norms

ROLES = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
LETTERS = ["a", "b", "ab"]
TOKENS = len(LETTERS) + len(ROLES)
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TOKENIZER = {"version": "1.0", "added_tokens": [{"id": len(LETTERS) + i, "content": role, **FLAGS} for i, role in enumerate(ROLES)], "normalizer": None,
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False},
                                                                     {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
             "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
             "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False, "vocab": {text: i for i, text in enumerate(LETTERS)},
                       "merges": ["a b"]}}
CONFIG = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizer", "additional_special_tokens": ROLES,
          "added_tokens_decoder": {str(len(LETTERS) + i): {"content": role, **FLAGS} for i, role in enumerate(ROLES)}}
FILES = {"tokenizer.json": json.dumps(TOKENIZER, separators=(",", ":")), "tokenizer_config.json": json.dumps(CONFIG, separators=(",", ":"))}
FUSED = ("gate_up_proj", "down_proj")


def glm(architecture, kind, **settings):
    return base(architecture, kind, vocab_size=TOKENS, bos_token_id=REMOVED, eos_token_id=[3, 10, 12], pad_token_id=3, head_dim=16, attention_bias=False,
                partial_rotary_factor=0.5, **settings)


def dense(c, names, bias=""):
    out = ends(c)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}.mlp."
        out += norms(c, i, names=names) + attention(c, i, bias=bias)
        out += [(p + "gate_up_proj.weight", (2 * c["intermediate_size"], c["hidden_size"])), (p + "down_proj.weight", (c["hidden_size"], c["intermediate_size"]))]
    return out


def mixture(c, norm, extra=True):
    h, out = c["hidden_size"], ends(c)
    for i in range(c["num_hidden_layers"] + 1):
        p = f"model.layers.{i}."
        out += norms(c, i) + attention(c, i, bias="qkv", norm=norm)
        if i < c["first_k_dense_replace"]:
            out += mlp(p + "mlp.", h, c["intermediate_size"])
            continue
        out += [(p + "mlp.gate.weight", (c["n_routed_experts"], h)), (p + "mlp.gate.e_score_correction_bias", (c["n_routed_experts"],), "F32")]
        for name in [f"experts.{e}." for e in range(c["n_routed_experts"])] + ["shared_experts."]:
            out += mlp(f"{p}mlp.{name}", h, c["moe_intermediate_size"])
    p = f"model.layers.{c['num_hidden_layers']}."
    out += [(p + "eh_proj.weight", (h, 2 * h)), (p + "enorm.weight", (h,)), (p + "hnorm.weight", (h,)), (p + "shared_head.norm.weight", (h,))]
    return out + [(p + "embed_tokens.weight", (TOKENS, h)), (p + "shared_head.head.weight", (TOKENS, h))] * extra


BEFORE = ("input_layernorm", "post_attention_layernorm")
AROUND = BEFORE + ("post_self_attn_layernorm", "post_mlp_layernorm")
# llama.cpp divides the columns among the heads
GLM = {**glm("GlmForCausalLM", "glm", attention_dropout=0.0), "attention_bias": True, "head_dim": 8}
GLM_4 = glm("Glm4ForCausalLM", "glm4")
GLM_4_NEW = new_style({**GLM_4, "attention_bias": True})
GLM_4_NEW["rope_parameters"]["partial_rotary_factor"] = GLM_4_NEW.pop("partial_rotary_factor")
MOE = {**glm("Glm4MoeForCausalLM", "glm4_moe", first_k_dense_replace=1, moe_intermediate_size=24, n_routed_experts=3, n_shared_experts=1, num_experts_per_tok=2, n_group=1,
             topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5, num_nextn_predict_layers=1, use_qk_norm=True), "attention_bias": True}
AIR = new_style({**MOE, "use_qk_norm": False})
CASES = {"glm": case(GLM, dense(GLM, BEFORE, bias="qkv"), files=FILES, pre="glm4"),
         "glm4": case(GLM_4, dense(GLM_4, AROUND), files=FILES, pre="glm4"),
         "glm4_new": case(GLM_4_NEW, dense(GLM_4_NEW, AROUND, bias="qkv"), files=FILES, pre="glm4"),
         "glm4_moe": case(MOE, mixture(MOE, True), files=FILES, pre="glm4"),
         "glm4_moe_new": case(AIR, mixture(AIR, False, extra=False), files=FILES, pre="glm4")}
